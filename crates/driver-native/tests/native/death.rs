//! Deaths: of the outer supervisor, of init, of the gateway, of the proxy.

use std::time::Instant;

use chiton_api::frame::SessionKind;
use chiton_driver::{
    ComputeDriver as _,
    conformance::{Fixture as _, POLICY, Sandbox, program, proxy_config, shell},
};
use chiton_testkit::is_dead;
use tokio::runtime::Runtime;

use crate::{
    Test,
    bench::{self, Native, record, record_file, runtime_folder},
};

pub(crate) const TESTS: &[Test] = &[
    ("with the outer supervisor everything dies", outer),
    ("with init everything dies", init),
    ("another gateway finds what runs and removes what does not", adoption),
    ("what another gateway cannot reach it ends", taken_away),
    ("a proxy that died is replaced", proxy),
    ("how long a sandbox takes", speed),
];

/// The pids in the sandbox's record, outer supervisor first.
pub(crate) fn recorded(sandbox: &Sandbox) -> Vec<i32> {
    let record = record(&record_file(sandbox));
    ["supervisor", "proxy"].iter().map(|role| record[role]["pid"].as_i64().unwrap() as i32).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn outer(runtime: &Runtime) {
    dies_with(runtime, |outer, _| outer);
}

fn init(runtime: &Runtime) {
    dies_with(runtime, |_, init| init);
}

fn dies_with(runtime: &Runtime, victim: fn(i32, i32) -> i32) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        // A builtin: a shell that still looks a program up would see its judge go, and end by itself before it is killed.
        let mut session = sandbox.session(shell("echo up; read x")).await.unwrap();
        session.until("up").await;
        let outer = recorded(&sandbox)[0];
        let init = children(outer)[0];
        let inside = children(init);
        assert!(!inside.is_empty());
        kill(victim(outer, init));
        assert!(sandbox.driver.wait(&sandbox.handle).await.is_err());
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
        for pid in [vec![outer, init], inside].concat() {
            assert!(is_dead(pid), "{pid} lives");
        }
        assert!(!runtime_folder(&sandbox).exists() && !record_file(&sandbox).exists());
    });
}

fn adoption(runtime: &Runtime) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        let mut session = sandbox.session(shell("echo up; read x; exit 2")).await.unwrap();
        session.until("up").await;
        let second = bench::driver(bench::folder(&sandbox));
        assert_eq!(second.list().await.unwrap(), std::slice::from_ref(&sandbox.handle));
        assert!(!second.report(&sandbox.handle).await.unwrap().layers.is_empty());
        let [outer, proxy] = recorded(&sandbox)[..] else { panic!() };
        kill(outer);
        assert!(second.wait(&sandbox.handle).await.is_err());
        assert!(second.list().await.unwrap().is_empty());
        assert!(is_dead(proxy));
        assert!(!runtime_folder(&sandbox).exists() && !record_file(&sandbox).exists());
    });
}

fn taken_away(runtime: &Runtime) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        let mut session = sandbox.session(shell("echo up; read x; exit 2")).await.unwrap();
        session.until("up").await;
        let processes = recorded(&sandbox);
        while std::fs::remove_dir_all(bench::folder(&sandbox).join("run")).is_err() {}
        let second = bench::driver(bench::folder(&sandbox));
        assert!(second.list().await.unwrap().is_empty());
        for pid in processes {
            assert!(is_dead(pid), "{pid} lives");
        }
        assert!(!record_file(&sandbox).exists());
    });
}

fn proxy(runtime: &Runtime) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        let mut session = sandbox.session(shell("echo up; read x; exit 2")).await.unwrap();
        session.until("up").await;
        let old = recorded(&sandbox)[1];
        kill(old);
        sandbox.driver.attach_network_proxy(&sandbox.handle, proxy_config()).await.unwrap();
        assert_ne!(recorded(&sandbox)[1], old);
        session.send(SessionKind::Stdin, b"x\n").await;
        assert_eq!(session.end().await.2, 2);
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    });
}

fn speed(runtime: &Runtime) {
    const PHASES: [&str; 6] = ["create", "view", "attach", "launch", "end", "destroy"];
    runtime.block_on(async {
        let mut times = vec![Vec::new(); PHASES.len()];
        for _ in 0..50 {
            let sandbox = Native.sandbox();
            let (driver, handle) = (&sandbox.driver, &sandbox.handle);
            let mut clock = Instant::now();
            let mut lap =
                |phase: usize| times[phase].push(std::mem::replace(&mut clock, Instant::now()).elapsed());
            driver.create_sandbox(&sandbox.spec).await.unwrap();
            lap(0);
            driver.inject_filesystem_policy(handle, sandbox.policy(POLICY)).await.unwrap();
            lap(1);
            driver.attach_network_proxy(handle, proxy_config()).await.unwrap();
            lap(2);
            let mut session = sandbox.session(program(&["/bin/true"])).await.unwrap();
            lap(3);
            session.end().await;
            lap(4);
            driver.destroy_sandbox(handle).await.unwrap();
            lap(5);
        }
        for (phase, mut times) in PHASES.iter().zip(times) {
            times.sort();
            print!(" {phase} {:.1?}/{:.1?}", times[0], times[times.len() / 2]);
        }
        println!(" (best/median)");
    });
}
