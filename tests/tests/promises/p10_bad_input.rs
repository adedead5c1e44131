//! Bad input keeps the old state: a clear message, the running revision stays, a start is refused.

use chiton_testkit::engines::{self, Engine, Kind};
use chiton_tests::{As, Chiton, World, http_policy};

#[test]
fn a_bad_policy_never_replaces_a_good_one() {
    let world = World::echo(&["api.example.com"]);
    let good = http_policy(&["{host: api.example.com}"]);
    let policy = world.chiton.policy(&good);
    let policy = policy.to_str().expect("a path");
    let _ =
        world.chiton.run(&["run", "-d", "-n", "bad", "-p", policy, "--", "sleep", "600"]).expect_success();
    let before = world.chiton.run(&["policy", "show", "bad"]).expect_success().stdout;
    let bad = [
        ("dynamic: {mode: enforce, mode: audit}\n".to_owned(), "mode"),
        (
            "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://absent'}}\n"
                .to_owned(),
            "absent",
        ),
        (
            "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'vault://llm/openai'}}\n"
                .to_owned(),
            "vault",
        ),
        (good.replace("/tmp", "/opt"), "allowed_paths"),
        (
            "dynamic: {llm_routing: {provider: openai, limits: {tokens_per_day: 0}}}\n".to_owned(),
            "tokens_per_day",
        ),
        (
            "dynamic: {network: {tcp: [{host: db.example.com, ports: [5432], binaries: [/tmp/psql]}]}}\n"
                .to_owned()
                + "static: {filesystem: {allowed_paths: [/tmp]}}\n",
            "the agent can write",
        ),
    ];
    for (text, mentions) in bad {
        let file = world.chiton.policy(&text);
        let outcome = world.chiton.run(&["policy", "apply", "bad", file.to_str().expect("a path")]);
        assert_ne!(outcome.status, 0, "{text}: {outcome:?}");
        assert!(outcome.stderr.contains(mentions), "{text}: {outcome:?}");
        assert_eq!(world.chiton.run(&["policy", "show", "bad"]).expect_success().stdout, before);
    }
    let ask =
        ["exec", "bad", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "https://api.example.com/"];
    assert_eq!(world.chiton.run(&ask).expect_success().stdout, "200");
    let _ = world.chiton.run(&["rm", "-f", "bad"]).expect_success();
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let chiton = Chiton::new(As::User);
    let cases = [
        ("static: {process: {allowed_binaries: [/usr/bin/**]}}\n", "allowed_binaries"),
        ("static: {filesystem: {allowed_paths: [/workspace], workspace: staged}}\n", "staged"),
    ];
    for (text, mentions) in cases {
        let file = chiton.policy(text);
        let checked = chiton.run(&["policy", "check", file.to_str().expect("a path")]).expect_success();
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains("not supported yet"), "{text}: {checked:?}");
        let outcome = chiton.sandboxed(&file, &["touch", "ran"]).expect_status(125);
        assert!(
            outcome.stderr.contains("not supported yet") && outcome.stderr.contains(mentions),
            "{text}: {outcome:?}"
        );
    }
    assert!(!chiton.workspace().join("ran").exists());
}

#[test]
fn a_gpu_is_refused_where_the_driver_gives_none() {
    let chiton = Chiton::new(As::User);
    let refused = match engines::named().map(Engine::kind) {
        None => "`static.gpu`: the driver `native` gives no devices",
        Some(Kind::Docker) => "`static.gpu` cannot be given by docker",
        // It gives devices; there are none.
        Some(Kind::Podman | Kind::Rootless) => "on this machine",
    };
    for asked in ["all", "2", "[nvidia.com/gpu=0]"] {
        let file = chiton
            .policy(&format!("static: {{filesystem: {{allowed_paths: [/workspace]}}, gpu: {asked}}}\n"));
        let outcome = chiton.sandboxed(&file, &["touch", "ran"]).expect_status(125);
        assert!(outcome.stderr.contains(refused), "{outcome:?}");
    }
    assert!(!chiton.workspace().join("ran").exists());
    assert_eq!(chiton.run(&["ps", "-a", "--json"]).expect_success().stdout.trim(), "[]");
}

#[test]
fn a_start_that_cannot_be_is_refused_in_one_line_and_leaves_nothing() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n");
    let policy = policy.to_str().expect("a path");
    let cases: &[(&[&str], i32)] = &[
        (&["run", "-p", policy, "-w", "/does/not/exist", "--", "true"], 125),
        (&["run", "-p", policy, "-w", "/", "--", "true"], 125),
        (&["run", "-p", "/does/not/exist.yaml", "--", "true"], 125),
        (&["run", "-p", policy, "-n", "../evil", "--", "true"], 125),
        (&["run", "-p", policy, "--driver", "docker", "--", "true"], 125),
        (&["run", "-p", policy, "--rm", "--", "no-such-program"], 127),
        (&["run", "-p", policy, "--rm", "--", "/etc/passwd"], 126),
        (&["run", "-p", policy, "--rm", "--", "sh", "-c", "exit 7"], 7),
        (&["run", "-p", policy, "--rm", "--", "sh", "-c", "kill -9 $$"], 137),
    ];
    for (arguments, status) in cases {
        let outcome = chiton.run(arguments).expect_status(*status);
        assert!(outcome.stderr.lines().count() <= 4, "{arguments:?}: {outcome:?}");
    }
    assert_eq!(chiton.run(&["ps", "-a", "--json"]).expect_success().stdout.trim(), "[]");
}
