//! What people read: it says which program, which file, how many.

use chiton_testkit::{As, Chiton};

use crate::POLICY;

#[test]
fn a_line_of_the_log_says_what_was_done() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    assert_eq!(chiton.sandboxed(&policy, &["sh", "-c", "env true a b"]).status, 0);
    let tail = chiton.run(&["audit", "tail", "-n", "20"]).expect_status(0).stdout;
    assert!(tail.contains("exec /usr/bin/env with 4 arguments"), "{tail}");
    assert!(tail.contains("exec /usr/bin/true with 3 arguments"), "{tail}");
}

#[test]
fn one_refused_file_is_one_refusal() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(&format!("{POLICY}    denied_paths: ['**/.env']\n"));
    let policy = policy.to_str().expect("UTF-8");
    let outcome = chiton.run(&["run", "-n", "box", "-p", policy, "--", "touch", ".env"]).expect_status(1);
    assert!(outcome.stderr.contains("chiton: 1 attempt was refused"), "{outcome:?}");
    let denied = chiton.audit(&["--sandbox", "box", "--decision", "deny"]);
    assert_eq!(denied.len(), 1, "{denied:#?}");
    assert_eq!(denied[0]["reason"], "denied_path");
}

#[test]
fn show_counts_folders_and_names_the_policy_in_use() {
    let chiton = Chiton::new(As::User);
    chiton.write_workspace("first.yaml", POLICY);
    chiton.write_workspace("second.yaml", format!("{POLICY}    denied_paths: ['**/.env']\n"));
    let run = ["run", "-d", "-n", "box", "-p", "first.yaml", "--", "sleep", "1000"];
    let _ = chiton.run(&run).expect_status(0);
    let shown = chiton.run(&["show", "box"]).expect_status(0).stdout;
    assert!(shown.contains("1 folder of the host") && shown.contains("/first.yaml"), "{shown}");
    let _ = chiton.run(&["policy", "apply", "--recreate", "box", "second.yaml"]).expect_status(0);
    let shown = chiton.run(&["show", "box"]).expect_status(0).stdout;
    assert!(shown.contains("/second.yaml") && !shown.contains("/first.yaml"), "{shown}");
    let kept = ["exec", "box", "sh", "-c", "echo x >> second.yaml || echo x >> first.yaml"];
    let outcome = chiton.run(&kept).expect_status(0);
    assert!(outcome.stderr.contains("second.yaml"), "the file in use is protected: {outcome:?}");
    let _ = chiton.run(&["rm", "-f", "box"]).expect_status(0);
}

#[test]
fn check_says_what_run_would_refuse() {
    let chiton = Chiton::new(As::User);
    let routing = "{provider: openai, fallback: [{provider: google}]}";
    let policy = chiton.policy(&format!("{POLICY}dynamic:\n  llm_routing: {routing}\n"));
    let checked = chiton.run(&["policy", "check", policy.to_str().expect("UTF-8")]).expect_status(0);
    assert!(
        checked.stdout.contains("not supported yet: dynamic.llm_routing.fallback[0].provider: google"),
        "{checked:?}"
    );
    let refused = chiton.sandboxed(&policy, &["true"]).expect_status(125);
    assert!(refused.stderr.contains("not supported yet"), "{refused:?}");
}

#[test]
fn a_secret_that_is_too_long_is_refused_with_the_limit() {
    let chiton = Chiton::new(As::User);
    let refused = chiton.run_with(&["secret", "set", "long"], &"x".repeat(17 << 10)).expect_status(1);
    assert!(refused.stderr.contains("longer than 16 KiB; nothing was stored"), "{refused:?}");
    let line = format!("{}\r\n", "x".repeat(16 << 10));
    let _ = chiton.run_with(&["secret", "set", "longest"], &line).expect_status(0);
}
