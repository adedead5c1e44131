//! Sandboxes made, used and ended through the driver, as root and as an ordinary user. This program is its
//! own `chiton`: the driver starts it again as supervisor and as proxy.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test without the harness: a surprise is to panic, and its results are to be read"
)]

mod bench;
mod crowd;
mod death;
mod groups;
mod threads;

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

/// Nobody in particular, but an ordinary user.
const ORDINARY: u32 = 12_345;

type Test = (&'static str, fn(&tokio::runtime::Runtime) -> ());

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "supervisor" => return chiton_supervisor::run(),
        "proxy" => return chiton_driver_host::stand_in::be_proxy(),
        "threads" => return threads::be_threads(),
        _ => {}
    }
    let passed = run(&role);
    if passed && rustix::process::geteuid().is_root() {
        println!("as an ordinary user:");
        let again = Command::new("/proc/self/exe").arg(&role).uid(ORDINARY).gid(ORDINARY).status();
        return if again.unwrap().success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(filter: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = 0;
    let mut check = |name: &str, test: &dyn Fn()| {
        if !name.contains(filter) {
            return;
        }
        let began = std::time::Instant::now();
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_ok();
        println!("{} {name} ({:.1?})", if passed { "ok  " } else { "FAIL" }, began.elapsed());
        failed += u32::from(!passed);
    };
    for case in chiton_driver::conformance::cases() {
        check(case.name, &|| runtime.block_on((case.run)(&bench::Native)));
    }
    for (name, test) in crowd::TESTS.iter().chain(death::TESTS).chain(groups::TESTS).chain(threads::TESTS) {
        check(name, &|| test(&runtime));
    }
    failed == 0
}
