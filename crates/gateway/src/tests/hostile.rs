//! Bad input, bad files, a full disk.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::world::{World, raw};

#[test]
fn nonsense_is_answered_with_a_problem_and_the_gateway_lives() {
    let world = World::new();
    let served = world.serve();
    let none = served.refused("GET", "/v1/nothing", Value::Null);
    assert_eq!(none["type"], "not_found");
    served.refused("PATCH", "/v1/sandboxes", Value::Null);
    for body in [json!([]), json!({"argv": 1}), json!({"unknown": true}), json!("x")] {
        assert_eq!(served.refused("POST", "/v1/sandboxes", body)["type"], "bad_request");
    }
    let cases = [
        json!({"argv": []}),
        json!({"argv": [""]}),
        json!({"argv": ["a\u{0}b"]}),
        json!({"env": {"A=B": "c"}}),
        json!({"env": {"": "c"}}),
        json!({"driver": "lxc"}),
        json!({"session": {"stdin": true}}),
        json!({"workspace": "relative"}),
    ];
    for more in cases {
        assert_eq!(
            served.refused("POST", "/v1/sandboxes", world.create(more.clone()))["type"],
            "bad_request",
            "{more}"
        );
    }
    for name in ["%00", "%2e%2e", "..%2f..", "a%0ab", "'%20OR%201=1"] {
        served.refused("GET", &format!("/v1/sandboxes/{name}"), Value::Null);
        served.refused("DELETE", &format!("/v1/sandboxes/{name}?force=true"), Value::Null);
        served.refused("DELETE", &format!("/v1/secrets/{name}"), Value::Null);
    }
    for query in ["layer=x", "decision=maybe", "since=yesterday", "limit=-1", "nope=1"] {
        served.refused("GET", &format!("/v1/audit?{query}"), Value::Null);
    }
    let big = "x".repeat(5 << 20);
    served.refused("POST", "/v1/sandboxes", world.create(json!({"policy": big})));
    let garbage = served.run(raw(&served.socket, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"));
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    let headers = format!("GET /v1/version HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    served.run(raw(&served.socket, headers.as_bytes()));
    assert_eq!(served.must("GET", "/v1/version", Value::Null)["api"], 1);
    assert!(world.fake.host().calls.is_empty());
}

#[test]
fn bad_paths_and_policies_are_found_first() {
    let world = World::new();
    let served = world.serve();
    let kind = |more: Value| served.refused("POST", "/v1/sandboxes", world.create(more))["type"].clone();
    for workspace in [json!("/"), json!("/nonexistent"), json!(world.paths.state), json!(world.folder.path())]
    {
        assert_eq!(kind(json!({"workspace": workspace})), "path", "{workspace}");
    }
    assert_eq!(kind(json!({"extra_read_only": ["/nonexistent"]})), "path");
    assert_eq!(kind(json!({"extra_read_only": [world.paths.runtime]})), "path");
    assert_eq!(kind(json!({"driver": "docker"})), "not_supported");
    assert_eq!(kind(json!({"policy": "static: {}\nstatic: {}\n"})), "policy_invalid");
    let staged = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n    workspace: staged\n";
    assert_eq!(kind(json!({"policy": staged})), "not_supported");
    let path = "static:\n  filesystem:\n    read_only_paths: [/nonexistent/tools]\n";
    assert_eq!(kind(json!({"policy": path})), "path");
    assert_eq!(
        kind(json!({"extra_read_only": [world.workspace()]})),
        "path",
        "below `/tmp`, which is private inside"
    );
    assert!(world.fake.host().calls.is_empty());
    assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]));
}

#[test]
fn a_bad_config_refuses_the_start_and_changes_nothing_else() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "one"})));
    world.configure("[upstream]\nextra_cas = []\n");
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "two"})));
    assert_eq!(problem["type"], "configuration");
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    world.configure("[upstream]\nproxy = \"http://me:hunter22@proxy:3128\"\n");
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "two"})));
    assert_eq!(problem["type"], "configuration");
    assert!(!problem.to_string().contains("hunter22"), "{problem}");
    world.configure(
        "[upstream]\nproxy = \"http://proxy:3128\"\nproxy_credential = \"env://CHITON_TEST_NOT_SET\"\n",
    );
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "two"})));
    assert!(problem["detail"].as_str().unwrap().contains("CHITON_TEST_NOT_SET"), "{problem}");
    world.configure("[upstream]\nextra_ca = [\"/nonexistent.pem\"]\n");
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "two"})));
    assert!(problem["detail"].as_str().unwrap().contains("/nonexistent.pem"), "{problem}");
    assert_eq!(served.must("GET", "/v1/sandboxes/one", Value::Null)["state"], "running");
    world.configure("");
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "two"})));
}

#[test]
fn without_a_log_nothing_new_begins_and_what_runs_runs_on() {
    let world = World::new();
    std::fs::create_dir_all(&world.paths.state).unwrap();
    let _sealed = crate::audit::tests::unwritable(&world.paths.audit_log());
    let served = world.serve();
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    assert_eq!(problem["type"], "audit", "{problem}");
    assert!(world.fake.host().sandboxes.is_empty());
    let status = served.must("GET", "/v1/status", Value::Null);
    assert_eq!(status["audit"]["writable"], false);
    assert!(status["audit"]["fault"].is_string(), "{status}");
}

#[test]
fn what_is_on_the_disk_is_closed_to_others() {
    let world = World::new();
    let served = world.serve();
    let made = served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = world.paths.sandbox(made["id"].as_str().unwrap());
    assert_eq!(mode(folder.join("authority.pem")), 0o600);
    assert_eq!(mode(world.paths.database()), 0o600);
    assert_eq!(mode(world.paths.audit_log()), 0o600);
    assert_eq!(mode(world.paths.socket()), 0o600);
    for closed in [folder, world.paths.state.clone(), world.paths.runtime.clone()] {
        assert_eq!(mode(closed), 0o700);
    }
}
