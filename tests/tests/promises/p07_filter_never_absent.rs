//! A child, an `exec` session and a second start get the same layers as the first process.

use chiton_tests::{As, Chiton, REFERENCE};

const LAYERS: &str = "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd|CapPrm|CapAmb|CapInh):' /proc/self/status | tr -s '\\t ' ' '; \
    cat .env 2>&1; ls -a | grep -c '^.env$'; python3 -c 'import os; os.unshare(0x10000000)' 2>&1 | tail -1";
const EXPECTED: &str = "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\n\
    CapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\ncat: .env: No such file or directory\n0\n";

#[test]
fn first_process_child_exec_and_second_start_are_alike() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        chiton.secret("openai", "sk-backend-0123456789abcdef");
        chiton.write_workspace(".env", "SECRET");
        let policy = chiton.policy(REFERENCE);
        let policy = policy.to_str().expect("a path");
        let script = format!(
            "({LAYERS}); echo; sh -c '{}'; echo started > marker; sleep 600",
            LAYERS.replace('\'', "'\\''")
        );
        let _ = chiton
            .run(&["run", "-d", "-n", "same", "-p", policy, "--", "sh", "-c", &script])
            .expect_success();
        let exec = || chiton.run(&["exec", "same", "sh", "-c", LAYERS]).expect_success();
        assert!(exec().stdout.starts_with(EXPECTED), "{:?}", exec());
        let _ = chiton.run(&["stop", "-t", "1", "same"]).expect_success();
        let _ = chiton.run(&["start", "same"]).expect_success();
        assert!(exec().stdout.starts_with(EXPECTED), "{:?}", exec());
        let _ = chiton.run(&["rm", "-f", "same"]).expect_success();
    }
}

#[test]
fn a_secret_that_does_not_resolve_stops_the_start() {
    let chiton = Chiton::new(As::User);
    let outcome = chiton.sandboxed(&chiton.policy(REFERENCE), &["touch", "ran"]).expect_status(125);
    assert!(outcome.stderr.contains("openai"), "{outcome:?}");
    let vault = REFERENCE.replace("local://openai", "vault://llm/openai");
    let outcome = chiton.sandboxed(&chiton.policy(&vault), &["touch", "ran"]).expect_status(125);
    assert!(outcome.stderr.contains("vault"), "{outcome:?}");
    assert!(!chiton.workspace().join("ran").exists());
    assert_eq!(chiton.run(&["ps", "-a", "--json"]).expect_success().stdout.trim(), "[]");
}
