//! Every decision is in the audit log, and the log shows tampering.

use std::fs;

use chiton_tests::{As, Chiton, World, http_policy};

#[test]
fn decisions_programs_and_refused_calls_are_events() {
    let world = World::echo(&["api.example.com"]);
    let policy = http_policy(&["{name: only, host: api.example.com, paths: [/ok]}"])
        .replace("dynamic:", "  process:\n    blocked_syscalls: [ptrace, sethostname]\ndynamic:");
    let script = "curl -s 'https://api.example.com/ok?token=hush' >/dev/null; curl -s https://api.example.com/no >/dev/null; \
        python3 -c 'import socket; socket.sethostname(\"x\")' 2>/dev/null; true";
    let _ = world.sh(&policy, script).expect_success();
    let events = world.chiton.audit(&[]);
    let text = serde_json::to_string(&events).expect("JSON");
    assert!(!text.contains("hush"), "the query's values are never written");
    let network: Vec<_> =
        events.iter().filter(|e| e["layer"] == "network" && e["request"]["method"] == "GET").collect();
    let allowed = network.iter().find(|e| e["decision"] == "allow").expect("an allow");
    assert_eq!(
        (&allowed["rule"], &allowed["request"]["path"]),
        (&"only".into(), &"/ok".into()),
        "{allowed:#}"
    );
    let denied = network.iter().find(|e| e["decision"] == "deny").expect("a deny");
    assert_eq!(
        (&denied["reason"], &denied["request"]["path"]),
        (&"path_not_allowed".into(), &"/no".into()),
        "{denied:#}"
    );
    let process: Vec<_> = events.iter().filter(|e| e["layer"] == "process").collect();
    assert!(
        process.iter().any(|e| e["binary"].as_str().is_some_and(|b| b.ends_with("/curl"))),
        "{process:#?}"
    );
    assert!(
        process.iter().any(|e| e["decision"] == "deny" && e.to_string().contains("sethostname")),
        "{process:#?}"
    );
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

fn with_a_log() -> Chiton {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n");
    let _ = chiton.sandboxed(&policy, &["sh", "-c", "ls; ls; ls"]).expect_success();
    let _ = chiton.run(&["audit", "verify"]).expect_success();
    chiton
}

fn tampered(change: impl Fn(Vec<String>) -> Vec<String>) {
    let chiton = with_a_log();
    let _ = chiton.run(&["gateway", "stop"]).expect_success();
    let path = chiton.path("state").join("audit.jsonl");
    let lines: Vec<String> =
        fs::read_to_string(&path).expect("the log").lines().map(ToOwned::to_owned).collect();
    assert!(lines.len() >= 4, "{lines:?}");
    let changed = change(lines).join("\n") + "\n";
    fs::write(&path, changed).expect("a changed log");
    let outcome = chiton.run(&["audit", "verify"]).expect_status(1);
    assert!(outcome.stderr.lines().count() <= 3 && !outcome.stderr.is_empty(), "{outcome:?}");
}

#[test]
fn a_changed_event_is_found() {
    tampered(|mut lines| {
        lines[1] = lines[1].replacen("\"allow\"", "\"audit\"", 1).replacen("202", "203", 1);
        lines
    });
}

#[test]
fn a_removed_event_is_found() {
    tampered(|mut lines| {
        lines.remove(1);
        lines
    });
}

#[test]
fn a_removed_end_is_found() {
    tampered(|mut lines| {
        lines.pop();
        lines
    });
}

#[test]
fn reordered_events_are_found() {
    tampered(|mut lines| {
        lines.swap(1, 2);
        lines
    });
}
