//! The suite that every driver passes, in real containers: Docker's, Podman's, and those of an ordinary user's own
//! Podman. This program is its own `chiton`: the container starts it as supervisor, the driver as proxy.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test without the harness: a surprise is to panic, and its results are to be read"
)]

mod bench;
mod death;

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use chiton_testkit::{
    engines::{
        Engine, Kind,
        images::{self, Archive},
    },
    harness::TEST_USER,
};

use crate::bench::{Containers, IMAGE, SIDECAR};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match arguments[..] {
        ["supervisor", ..] => return chiton_supervisor::run(),
        ["sidecar", ..] => return chiton_driver_container::run_sidecar(),
        ["proxy", ..] => return chiton_driver_host::stand_in::be_proxy(),
        ["suite", engine, socket, filter] => suite(engine, &Containers::of(engine, socket), filter),
        [filter] => every_engine(filter),
        _ => every_engine(""),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The suite for one engine after the other, each by a process of its own: of its user.
fn every_engine(filter: &str) -> bool {
    let busybox = images::busybox();
    let all = [
        (Kind::Docker, "docker"),
        (Kind::Docker, SIDECAR),
        (Kind::Podman, "podman"),
        (Kind::Rootless, "podman"),
    ];
    let only = std::env::var("ENGINE").unwrap_or_default();
    let all = all.into_iter().filter(|(_, name)| only.is_empty() || only == *name);
    let passed: Vec<_> = all.map(|(kind, name)| one_engine(kind, name, &busybox, filter)).collect();
    passed.iter().all(|passed| *passed)
}

fn one_engine(kind: Kind, name: &str, busybox: &Archive, filter: &str) -> bool {
    println!("{kind:?}, {name}:");
    let engine = Engine::start(kind);
    engine.import(IMAGE, &busybox.path(), &[]);
    let mut suite = Command::new("/proc/self/exe");
    suite.args(["suite", name]).arg(engine.socket()).arg(filter);
    if kind == Kind::Rootless {
        suite.uid(TEST_USER).gid(TEST_USER);
    }
    let passed = suite.status().unwrap().success();
    let left = engine.containers();
    if !left.is_empty() {
        println!("FAIL {} containers are left", left.len());
    }
    passed && left.is_empty()
}

fn suite(engine: &str, containers: &Containers, filter: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = 0;
    for case in chiton_driver::conformance::cases().chain(death::CASES.iter().copied()) {
        // Its processes are on another kernel; the black-box tests kill them by the engine.
        if !case.name.contains(filter) || (engine == SIDECAR && case.name == death::FIRST) {
            continue;
        }
        let began = std::time::Instant::now();
        let test = std::panic::AssertUnwindSafe(|| runtime.block_on((case.run)(containers)));
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("{} {} ({:.1?})", if passed { "ok  " } else { "FAIL" }, case.name, began.elapsed());
        failed += u32::from(!passed);
    }
    failed == 0
}
