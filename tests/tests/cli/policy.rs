//! `chiton policy` and `audit`.

use chiton_testkit::{As, Chiton};

const WITH_NETWORK: &str = "\
static:
  filesystem:
    allowed_paths: [/workspace, /tmp]
dynamic:
  network:
    http:
      - host: api.example.com
        paths: [/users/*]
";

#[test]
fn check_says_everything_at_once_with_places() {
    let chiton = Chiton::new(As::User);
    let good = chiton.policy(WITH_NETWORK);
    let good = chiton.run(&["policy", "check", good.to_str().expect("UTF-8")]).expect_status(0);
    assert!(good.stdout.contains(": ok"), "{good:?}");
    let bad = chiton.policy("static:\n  filesystm: {}\ndynamic:\n  network:\n    http:\n      - host: '*'\n");
    let bad = bad.to_str().expect("UTF-8");
    let said = chiton.run(&["policy", "check", bad]).expect_status(2);
    assert!(said.stderr.contains("filesystm") && said.stderr.contains("filesystem"), "{said:?}");
    assert!(said.stderr.contains(":2:") && said.stderr.contains(":6:"), "{said:?}");
    let json = chiton.run(&["policy", "check", "--json", bad]).expect_status(2).json();
    assert_eq!(json[0]["valid"], false);
    assert_eq!(json[0]["diagnostics"].as_array().map(Vec::len), Some(2), "{json:#}");
}

#[test]
fn explain_answers_with_its_status() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(WITH_NETWORK);
    let policy = policy.to_str().expect("UTF-8");
    let explain = |request: &str| chiton.run(&["policy", "explain", policy, "--json", "--request", request]);
    let allowed = explain("GET https://api.example.com/users/x").expect_status(0);
    assert_eq!(allowed.json()["decision"], "allow");
    let denied = explain("GET https://api.example.com/users").expect_status(1);
    assert_eq!(denied.json()["reason"], "path_not_allowed");
    let ambiguous = explain("GET https://api.example.com//users/x").expect_status(1);
    assert_eq!(ambiguous.json()["reason"], "ambiguous_request");
    assert_eq!(explain("api.example.com").status, 2);
    assert_eq!(chiton.run(&["policy", "explain", "/nonexistent", "--request", "GET https://a.b/"]).status, 2);
    assert_eq!(chiton.processes(), Vec::<u32>::new(), "no gateway is needed");
}

#[test]
fn explain_knows_a_binary_as_a_sandbox_does() {
    let chiton = Chiton::new(As::User);
    let rule = "dynamic: {network: {http: [{host: api.example.com, binaries: [/usr/bin/python3]}]}}\n";
    let policy = chiton.policy(rule);
    let policy = policy.to_str().expect("UTF-8");
    let request = "GET https://api.example.com/";
    let explain = |binary: &[&str]| {
        let arguments = [&["policy", "explain", policy, "--json", "--request", request], binary].concat();
        chiton.run(&arguments)
    };
    // A symlink on most systems: the pattern means where it leads, and so does the argument.
    let file = std::fs::canonicalize("/usr/bin/python3").expect("python3 is installed");
    for python in ["/usr/bin/python3", file.to_str().expect("UTF-8")] {
        assert_eq!(explain(&["--binary", python]).expect_status(0).json()["decision"], "allow");
    }
    for other in [&["--binary", "/usr/bin/curl"][..], &["--binary", "/nonexistent"], &[]] {
        assert_eq!(explain(other).expect_status(1).json()["reason"], "binary_not_allowed");
    }
}

#[test]
fn explain_judges_connections_by_their_binary() {
    let chiton = Chiton::new(As::User);
    let rules = "dynamic: {network: {tcp: [{host: db.example.com, ports: [5432], binaries: [/usr/bin/python3]}], \
                 http: [{host: pin.example.com, tls: passthrough, binaries: [/usr/bin/python3]}]}}\n";
    let policy = chiton.policy(rules);
    let policy = policy.to_str().expect("UTF-8");
    for request in ["CONNECT tcp://db.example.com:5432", "CONNECT tls://pin.example.com:443"] {
        let explain = |binary: &[&str]| {
            let arguments = [&["policy", "explain", policy, "--json", "--request", request], binary].concat();
            chiton.run(&arguments)
        };
        let allowed = explain(&["--binary", "/usr/bin/python3"]).expect_status(0);
        assert_eq!(allowed.json()["decision"], "allow");
        for other in [&["--binary", "/usr/bin/curl"][..], &[]] {
            let denied = explain(other).expect_status(1).json();
            assert_eq!(denied["reason"], "binary_not_allowed");
            assert_eq!(denied["rules"][0]["stopped_by"], "binary_not_allowed");
            assert!(denied["suggestion"].is_null(), "{denied}");
        }
    }
}

#[test]
fn explain_knows_a_script() {
    let chiton = Chiton::new(As::User);
    let rule = "dynamic: {network: {http: [{host: api.example.com, binaries: ['/usr/bin/python3 /opt/tool.py']}]}}\n";
    let policy = chiton.policy(rule);
    let policy = policy.to_str().expect("UTF-8");
    for (binary, status) in
        [("/usr/bin/python3 /opt/tool.py", 0), ("/usr/bin/python3 /opt/other.py", 1), ("/usr/bin/python3", 1)]
    {
        let request = "GET https://api.example.com/";
        let arguments = ["policy", "explain", policy, "--request", request, "--binary", binary];
        let _ = chiton.run(&arguments).expect_status(status);
    }
}

#[test]
fn diff_and_schema_need_no_gateway() {
    let chiton = Chiton::new(As::User);
    let (old, new) =
        (chiton.policy(WITH_NETWORK), chiton.policy(&WITH_NETWORK.replace("/users/*", "/users/**")));
    let (old, new) = (old.to_str().expect("UTF-8"), new.to_str().expect("UTF-8"));
    assert_eq!(chiton.run(&["policy", "diff", old, old]).stdout, "no change\n");
    let changed = chiton.run(&["policy", "diff", old, new]).expect_status(0);
    assert!(changed.stdout.contains("/users/**"), "{changed:?}");
    assert!(chiton.run(&["policy", "schema"]).json()["properties"]["static"].is_object());
    assert_eq!(chiton.processes(), Vec::<u32>::new());
}

#[test]
fn apply_answers_when_it_is_enforced_and_show_shows_it() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(WITH_NETWORK);
    let policy = policy.to_str().expect("UTF-8");
    let _ = chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    let narrower = chiton.policy("dynamic:\n  network:\n    http: []\n");
    let applied = chiton.run(&["policy", "apply", "box", narrower.to_str().expect("UTF-8"), "--json"]);
    assert_eq!(applied.expect_status(0).json()["revision"], 2);
    let shown = chiton.run(&["policy", "show", "box"]).expect_status(0);
    assert!(shown.stdout.starts_with("# revision 2, sha256:"), "{shown:?}");
    let other = chiton.policy("static:\n  filesystem:\n    allowed_paths: [/tmp]\n");
    let refused = chiton.run(&["policy", "apply", "box", other.to_str().expect("UTF-8")]).expect_status(1);
    assert!(refused.stderr.contains("static") && refused.stderr.contains("--recreate"), "{refused:?}");
}

#[test]
fn the_audit_log_is_queried_and_verified() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(WITH_NETWORK);
    let _ = chiton
        .run(&["run", "-n", "box", "-p", policy.to_str().expect("UTF-8"), "--", "true"])
        .expect_success();
    let events = chiton.audit(&["--sandbox", "box"]);
    assert!(events.iter().any(|event| event["layer"] == "lifecycle"), "{events:#?}");
    assert!(events.iter().all(|event| event["hash"].is_string() && event["sandbox"] == "box"));
    let of_layer = chiton.audit(&["--sandbox", "box", "--layer", "process"]);
    assert!(of_layer.iter().all(|event| event["layer"] == "process"));
    assert_eq!(chiton.audit(&["--sandbox", "nobody"]).len(), 0);
    let tail = chiton.run(&["audit", "tail", "-n", "1"]).expect_status(0);
    assert_eq!(tail.stdout.lines().count(), 1);
    assert!(chiton.run(&["audit", "verify"]).expect_status(0).stdout.starts_with("ok: "));
    let log = chiton.path("state/audit.jsonl");
    let text = std::fs::read_to_string(&log).expect("the log").replacen("\"create\"", "\"CREATE\"", 1);
    std::fs::write(&log, text).expect("the log");
    let tampered = chiton.run(&["audit", "verify"]).expect_status(1);
    assert!(tampered.stderr.starts_with("error: the audit log was tampered with"), "{tampered:?}");
}

/// What a policy extends is part of it everywhere, and what is wrong with that is said by its own name.
#[test]
fn a_policy_extends_presets_and_files() {
    let chiton = Chiton::new(As::User);
    let own = chiton.policy(
        "extends: [github-read, ./base.yaml]\ndynamic: {network: {http: [{host: own.example.com}]}}\n",
    );
    let beside = |name: &str| own.parent().expect("a folder").join(name);
    let own = own.to_str().expect("UTF-8");
    let run = |arguments: &[&str]| chiton.run(&[&["policy"], arguments].concat());
    let explain = |request: &str| run(&["explain", own, "--json", "--request", request]);

    let missing = run(&["check", own]).expect_status(2);
    assert!(missing.stderr.contains("base.yaml") && missing.stderr.contains("extends"), "{missing:?}");
    std::fs::write(
        beside("base.yaml"),
        "extends: [deeper.yaml]\ndynamic: {network: {http: [{host: base.example.com}]}}\n",
    )
    .expect("a file");
    std::fs::write(
        beside("deeper.yaml"),
        "dynamic: {network: {http: [{host: own.example.com, deny: [{paths: [/no]}]}]}}\n",
    )
    .expect("a file");
    let _ = run(&["check", own]).expect_status(0);
    let _ = explain("GET https://base.example.com/x").expect_status(0);
    let _ = explain("GET https://api.github.com/users/x").expect_status(0);
    let _ = explain("GET https://own.example.com/x").expect_status(0);
    assert_eq!(explain("GET https://own.example.com/no").expect_status(1).json()["reason"], "denied_by_rule");

    std::fs::write(beside("deeper.yaml"), "extends: [base.yaml]\n").expect("a file");
    assert!(run(&["check", own]).expect_status(2).stderr.contains("extends itself"));
    std::fs::write(beside("deeper.yaml"), "dynamic: {netwrok: {}}\n").expect("a file");
    let bad = run(&["check", own]).expect_status(2);
    assert!(bad.stderr.contains("deeper.yaml") && bad.stderr.contains("netwrok"), "{bad:?}");

    // What is wrong between two documents is told where it stands in the one that somebody wrote.
    std::fs::write(
        beside("deeper.yaml"),
        "# deeper\ndynamic: {network: {http: [{host: own.example.com, websocket: true}]}}\n",
    )
    .expect("a file");
    let between = run(&["check", own]).expect_status(2);
    assert!(between.stderr.contains("deeper.yaml:2:") && between.stderr.contains("websocket"), "{between:?}");
    let between = run(&["check", own, "--json"]).expect_status(2).json();
    let found = &between[0]["diagnostics"][0];
    assert!(found["file"].as_str().is_some_and(|file| file.ends_with("deeper.yaml")), "{between}");
    assert_eq!(found["line"], 2);

    let all = run(&["presets"]).expect_success();
    assert!(all.stdout.contains("npm-install") && all.stdout.contains("huggingface-write"), "{all:?}");
    assert!(run(&["presets", "npm-install"]).expect_success().stdout.contains("registry.npmjs.org"));
    let _ = run(&["presets", "npm"]).expect_status(1);

    std::fs::write(chiton.workspace().join("inside.yaml"), "dynamic: {}\n").expect("a file");
    let inside = chiton.policy("extends: [../workspace/inside.yaml]\n");
    let refused =
        chiton.run(&["run", "--rm", "-p", inside.to_str().expect("UTF-8"), "--", "true"]).expect_status(125);
    assert!(refused.stderr.contains("lies in the workspace"), "{refused:?}");
    let _ = chiton.run(&["run", "-d", "-n", "kept", "--", "sleep", "600"]).expect_success();
    let refused = chiton.run(&["policy", "apply", "kept", inside.to_str().expect("UTF-8")]).expect_status(1);
    assert!(refused.stderr.contains("lies in the workspace"), "{refused:?}");
}
