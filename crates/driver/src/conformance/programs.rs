//! Programs: how they start, what they find, how they end.

use chiton_api::frame::SessionKind;

use super::{
    Case, Fixture,
    sandbox::{POLICY, Sandbox, exec, program, proxy_config, script, shell},
};
use crate::DriverError;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a program runs, its output and its status come back",
        run: |fixture| Box::pin(runs(fixture)),
    },
    Case {
        name: "a program finds the sandbox's variables and no others",
        run: |fixture| Box::pin(variables(fixture)),
    },
    Case {
        name: "a program has the sandbox's user, time zone and locale",
        run: |fixture| Box::pin(surroundings(fixture)),
    },
    Case { name: "a program that is killed ends with 128+N", run: |fixture| Box::pin(killed(fixture)) },
    Case {
        name: "what is not there is 127, what is not executable is 126",
        run: |fixture| Box::pin(not_executable(fixture)),
    },
    Case { name: "nothing starts without the proxy", run: |fixture| Box::pin(no_proxy(fixture)) },
    Case {
        name: "orphans are reaped, and die with the main program",
        run: |fixture| Box::pin(orphans(fixture)),
    },
    Case {
        name: "an exec has its own status and does not end the sandbox",
        run: |fixture| Box::pin(exec_status(fixture)),
    },
    Case {
        name: "an exec gets the same locks as the main program",
        run: |fixture| Box::pin(same_locks(fixture)),
    },
    Case {
        name: "denied paths do not exist, and their refusal is an event",
        run: |fixture| Box::pin(denied(fixture)),
    },
    Case { name: "the exit file and the log outlive the sandbox", run: |fixture| Box::pin(files(fixture)) },
];

async fn runs(fixture: &dyn Fixture) {
    let (output, errors, status) = script(fixture, "id -u; cat /etc/passwd; echo oops >&2; exit 7").await;
    assert_ne!(output.lines().next(), Some("0"), "{output}");
    assert!(output.contains("agent:"), "{output}");
    assert_eq!((errors.as_str(), status), ("oops\n", 7));
}

/// The time zone is that of the system which the sandbox sees, this machine's or an image's, unless a program says another.
async fn surroundings(fixture: &dyn Fixture) {
    let text = "id -un; id -gn; id -u; echo $LANG $USER; date +%z; TZ=ELSE-5 date +%z";
    let (output, errors, _) = script(fixture, text).await;
    let lines: Vec<_> = output.lines().collect();
    let &[user, group, uid, words, zone, other] = lines.as_slice() else { panic!("{output}{errors}") };
    assert_eq!((user, group, words, other), ("agent", "agent", "C.UTF-8 agent", "+0500"), "{output}");
    assert!(uid.parse::<u32>().unwrap() > 0, "{output}");
    let ours = std::process::Command::new("date").arg("+%z").env_remove("TZ").output().unwrap().stdout;
    let images = fixture.sandbox().driver.capabilities().images;
    assert_eq!(zone, if images { "+0000" } else { std::str::from_utf8(&ours).unwrap().trim() }, "{output}");
}

async fn variables(fixture: &dyn Fixture) {
    let (output, ..) = script(fixture, "env; pwd; hostname").await;
    for line in ["HOME=/home/agent", "CHITON_SANDBOX=sandbox", "FROM_POLICY=yes", "FROM_LAUNCH=yes"] {
        assert!(output.lines().any(|l| l == line), "{line}: {output}");
    }
    assert!(output.ends_with("/workspace\nsandbox\n"), "{output}");
    assert!(!output.contains("CARGO_MANIFEST") && !output.contains("RUST_BACKTRACE"), "{output}");
}

async fn killed(fixture: &dyn Fixture) {
    assert_eq!(script(fixture, "kill -TERM $$").await.2, 143);
    assert_eq!(script(fixture, "kill -KILL $$").await.2, 137);
}

async fn not_executable(fixture: &dyn Fixture) {
    for (path, expected) in [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126)] {
        let sandbox = Sandbox::ready(fixture).await;
        let refused = sandbox.session(program(&[path])).await.err().unwrap();
        let DriverError::Failed(failure) = refused else { panic!("{refused}") };
        assert_eq!(failure.status, expected, "{failure}");
        assert!(failure.message.contains(path), "{failure}");
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    }
}

async fn no_proxy(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap();
    assert!(sandbox.session(shell("true")).await.is_err());
    let policy = sandbox.policy(POLICY);
    sandbox.driver.inject_filesystem_policy(&sandbox.handle, policy).await.unwrap();
    let refused = sandbox.session(shell("true")).await.err().unwrap();
    assert!(refused.to_string().contains("proxy"), "{refused}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn orphans(fixture: &dyn Fixture) {
    let text = "(sleep 1000 &) ; (true &) ; (setsid sleep 1000 &) ; for i in 1 2 3; do sh -c 'true &'; done";
    let (_, _, status) = script(fixture, text).await;
    assert_eq!(status, 0);
}

async fn exec_status(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read line; exit 3")).await.unwrap();
    main.until("up").await;
    let ended = sandbox.session(exec(shell("echo in; exit 9"))).await.unwrap().end().await;
    assert_eq!((ended.0.as_str(), ended.2), ("in\n", 9));
    let left = sandbox.session(exec(shell("sleep 1000 & echo left"))).await.unwrap().end().await;
    assert_eq!((left.0.as_str(), left.2), ("left\n", 0));
    main.send(SessionKind::Stdin, b"go\n").await;
    assert_eq!(main.end().await.2, 3);
    assert!(sandbox.session(exec(shell("true"))).await.is_err());
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn files(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut session = sandbox.session(shell("echo one; echo two >&2; exit 5")).await.unwrap();
    assert_eq!(session.end().await.2, 5);
    assert_eq!(sandbox.driver.wait(&sandbox.handle).await.unwrap().code, 5);
    let log = std::fs::read(&sandbox.spec.log).unwrap();
    assert!(log.starts_with(b"\x01\0\0\0\x04one\n") || log.starts_with(b"\x02"), "{log:?}");
    assert_eq!(std::fs::read_to_string(&sandbox.spec.exit).unwrap(), r#"{"code":5}"#);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

/// What a process can say about its own locks.
const LOCKS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/uid_map; \
                     unshare -U true 2>&1; ulimit -n; ulimit -c; ls -ld /root 2>&1; echo $(ls /proc/self/fd)";

async fn same_locks(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell(&format!("{LOCKS}; echo up; read x"))).await.unwrap();
    let of_main = main.until("up\n").await;
    let of_exec = sandbox.session(exec(shell(LOCKS))).await.unwrap().end().await.0;
    assert_eq!(of_main.trim_end_matches("up\n"), of_exec);
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(of_exec.contains(line), "{line}: {of_exec}");
    }
    assert!(of_exec.ends_with("0 1 2 3\n"), "{of_exec}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn denied(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    sandbox.write(".env", "SECRET=1");
    sandbox.write("plain", "plain");
    sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap();
    let text = format!("{POLICY}    denied_paths: ['**/.env', /workspace/later]\n");
    sandbox.driver.inject_filesystem_policy(&sandbox.handle, sandbox.policy(&text)).await.unwrap();
    sandbox.driver.attach_network_proxy(&sandbox.handle, proxy_config()).await.unwrap();
    let script = "cat plain; cat .env; ln plain linked; mv .env moved; echo x > later; ls -A; touch made";
    let mut session = sandbox.session(shell(script)).await.unwrap();
    let (output, errors, status) = session.end().await;
    assert!(
        output.starts_with("plain") && !output.contains("SECRET") && !output.contains("moved"),
        "{output}"
    );
    assert!(errors.contains("No such file"), "{errors}");
    assert_eq!(status, 0, "{errors}");
    assert!(sandbox.spec.workspace.join("made").exists());
    assert!(!sandbox.spec.workspace.join("later").exists());
    let owner =
        |name| std::os::unix::fs::MetadataExt::uid(&sandbox.spec.workspace.join(name).metadata().unwrap());
    assert_eq!(owner("made"), owner("plain"));
    sandbox.driver.wait(&sandbox.handle).await.unwrap();
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    let events = std::fs::read_to_string(&sandbox.spec.supervisor_events).unwrap();
    assert!(events.lines().any(|l| l.contains("\"path\":\"/workspace/.env\"")), "{events}");
    assert!(
        events.lines().any(|l| l.contains("\"action\":\"exec\"") && l.contains("\"binary\":\"/")),
        "{events}"
    );
}
