//! Programs: how they start, what they find, how they end.

use chiton_driver::{ComputeDriver as _, DriverError};
use tokio::runtime::Runtime;

use crate::{
    Test,
    bench::{Bench, exec, program, shell},
};

pub(crate) const TESTS: &[Test] = &[
    ("a program runs, its output and its status come back", runs),
    ("a program finds the sandbox's variables and no others", variables),
    ("a program that is killed ends with 128+N", killed),
    ("what is not there is 127, what is not executable is 126", not_executable),
    ("nothing starts without the proxy", no_proxy),
    ("orphans are reaped, and die with the main program", orphans),
    ("an exec has its own status and does not end the sandbox", exec_status),
    ("an exec gets the same locks as the main program", same_locks),
    ("denied paths do not exist, and their refusal is an event", denied),
    ("the exit file and the log outlive the sandbox", files),
];

fn runs(runtime: &Runtime) {
    runtime.block_on(async {
        let (output, errors, status) = Bench::script("id -u; cat /etc/passwd; echo oops >&2; exit 7").await;
        let uid = rustix::process::geteuid().as_raw();
        let expected = if uid == 0 { 1000 } else { uid };
        assert_eq!(output.lines().next(), Some(expected.to_string().as_str()), "{output}");
        assert!(output.contains("agent:"), "{output}");
        assert_eq!((errors.as_str(), status), ("oops\n", 7));
    });
}

fn variables(runtime: &Runtime) {
    runtime.block_on(async {
        let (output, ..) = Bench::script("env; pwd; hostname").await;
        for line in ["HOME=/home/agent", "CHITON_SANDBOX=bench", "FROM_POLICY=yes", "FROM_LAUNCH=yes"] {
            assert!(output.lines().any(|l| l == line), "{line}: {output}");
        }
        assert!(output.ends_with("/workspace\nbench\n"), "{output}");
        assert!(!output.contains("CARGO_MANIFEST") && !output.contains("RUST_BACKTRACE"), "{output}");
    });
}

fn killed(runtime: &Runtime) {
    runtime.block_on(async {
        assert_eq!(Bench::script("kill -TERM $$").await.2, 143);
        assert_eq!(Bench::script("kill -KILL $$").await.2, 137);
    });
}

fn not_executable(runtime: &Runtime) {
    runtime.block_on(async {
        for (path, expected) in [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126)] {
            let bench = Bench::ready().await;
            let refused = bench.session(program(&[path])).await.err().unwrap();
            let DriverError::Failed(failure) = refused else { panic!("{refused}") };
            assert_eq!(failure.status, expected, "{failure}");
            assert!(failure.message.contains(path), "{failure}");
            bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
        }
    });
}

fn no_proxy(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::new();
        bench.driver.create_sandbox(&bench.spec).await.unwrap();
        assert!(bench.session(shell("true")).await.is_err());
        let policy = bench.policy(crate::bench::POLICY);
        bench.driver.inject_filesystem_policy(&bench.handle, policy).await.unwrap();
        let refused = bench.session(shell("true")).await.err().unwrap();
        assert!(refused.to_string().contains("proxy"), "{refused}");
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn orphans(runtime: &Runtime) {
    runtime.block_on(async {
        let text =
            "(sleep 1000 &) ; (true &) ; (setsid sleep 1000 &) ; for i in 1 2 3; do sh -c 'true &'; done";
        let (_, _, status) = Bench::script(text).await;
        assert_eq!(status, 0);
    });
}

fn exec_status(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut main = bench.session(shell("echo up; read line; exit 3")).await.unwrap();
        main.until("up").await;
        let ended = bench.session(exec(shell("echo in; exit 9"))).await.unwrap().end().await;
        assert_eq!((ended.0.as_str(), ended.2), ("in\n", 9));
        let left = bench.session(exec(shell("sleep 1000 & echo left"))).await.unwrap().end().await;
        assert_eq!((left.0.as_str(), left.2), ("left\n", 0));
        main.send(chiton_api::frame::SessionKind::Stdin, b"go\n").await;
        assert_eq!(main.end().await.2, 3);
        assert!(bench.session(exec(shell("true"))).await.is_err());
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn files(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut session = bench.session(shell("echo one; echo two >&2; exit 5")).await.unwrap();
        assert_eq!(session.end().await.2, 5);
        assert_eq!(bench.driver.wait(&bench.handle).await.unwrap().code, 5);
        let log = std::fs::read(&bench.spec.log).unwrap();
        assert!(log.starts_with(b"\x01\0\0\0\x04one\n") || log.starts_with(b"\x02"), "{log:?}");
        assert_eq!(std::fs::read_to_string(&bench.spec.exit).unwrap(), r#"{"code":5}"#);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
        assert!(!bench.runtime_folder().exists());
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

/// What a process can say about its own locks.
const LOCKS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/uid_map; \
                     unshare -U true 2>&1; ulimit -n; ulimit -c; ls -ld /root 2>&1; echo $(ls /proc/self/fd)";

fn same_locks(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut main = bench.session(shell(&format!("{LOCKS}; echo up; read x"))).await.unwrap();
        let of_main = main.until("up\n").await;
        let of_exec = bench.session(exec(shell(LOCKS))).await.unwrap().end().await.0;
        assert_eq!(of_main.trim_end_matches("up\n"), of_exec);
        for line in
            ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(of_exec.contains(line), "{line}: {of_exec}");
        }
        assert!(of_exec.ends_with("0 1 2 3\n"), "{of_exec}");
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn denied(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::new();
        std::fs::write(bench.spec.workspace.join(".env"), "SECRET=1").unwrap();
        std::fs::write(bench.spec.workspace.join("plain"), "plain").unwrap();
        bench.driver.create_sandbox(&bench.spec).await.unwrap();
        let text = format!("{}    denied_paths: ['**/.env', /workspace/later]\n", crate::bench::POLICY);
        bench.driver.inject_filesystem_policy(&bench.handle, bench.policy(&text)).await.unwrap();
        bench.driver.attach_network_proxy(&bench.handle, crate::bench::proxy_config()).await.unwrap();
        let script = "cat plain; cat .env; ln plain linked; mv .env moved; echo x > later; ls -A; touch made";
        let mut session = bench.session(shell(script)).await.unwrap();
        let (output, errors, status) = session.end().await;
        assert!(
            output.starts_with("plain") && !output.contains("SECRET") && !output.contains("moved"),
            "{output}"
        );
        assert!(errors.contains("No such file"), "{errors}");
        assert_eq!(status, 0, "{errors}");
        assert!(bench.spec.workspace.join("made").exists());
        assert!(!bench.spec.workspace.join("later").exists());
        let owner =
            std::os::unix::fs::MetadataExt::uid(&bench.spec.workspace.join("made").metadata().unwrap());
        assert_eq!(owner, rustix::process::geteuid().as_raw());
        bench.driver.wait(&bench.handle).await.unwrap();
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
        let events = std::fs::read_to_string(&bench.spec.supervisor_events).unwrap();
        assert!(events.lines().any(|l| l.contains("\"path\":\"/workspace/.env\"")), "{events}");
        assert!(events.lines().any(|l| l.contains("\"action\":\"exec\"") && l.contains("/cat")), "{events}");
    });
}
