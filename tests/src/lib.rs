//! What the black-box tests share: an installation of chiton beside upstream servers on loopback.

pub mod search;
pub mod terminal;
pub mod workloads;

use std::{fs, path::PathBuf, time::Duration};

pub use chiton_testkit::harness::{As, Chiton, Outcome, TEST_USER, finish};
use chiton_testkit::{ca::TestCa, engines, routes::Router, server::Upstream, soon};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// An installation and one upstream server that stands for every host of the test.
pub struct World {
    /// The installation.
    pub chiton: Chiton,
    /// The server.
    pub upstream: Upstream,
    /// Who signed the server's certificate.
    pub ca: TestCa,
}

impl World {
    /// HTTPS for these hosts on port 443.
    #[must_use]
    pub fn new(user: As, hosts: &[&str], router: Router) -> Self {
        let ca = TestCa::new();
        let upstream = Upstream::tls(&ca, hosts, router);
        let mut chiton = Chiton::new(user);
        chiton.trust(&ca);
        for host in hosts {
            chiton.resolve(&format!("{host}:443"), upstream.address());
        }
        Self { chiton, upstream, ca }
    }

    /// An ordinary user, and a server that echoes.
    #[must_use]
    pub fn echo(hosts: &[&str]) -> Self {
        Self::new(As::User, hosts, Router::echo())
    }

    /// Runs a shell script under a policy.
    #[must_use]
    pub fn sh(&self, policy: &str, script: &str) -> Outcome {
        self.chiton.sandboxed(&self.chiton.policy(policy), &["sh", "-c", script])
    }
}

/// Whether a process has a socket: a command that asks its gateway has connected.
#[must_use]
pub fn has_socket(id: u32) -> bool {
    let open = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|to| to.to_string_lossy().starts_with("socket:"))
}

/// Kills a process, which may have ended.
///
/// # Panics
/// When it is no process's number.
pub fn kill(id: u32) {
    let _ = kill_process(process(id), Signal::KILL);
}

/// Kills a process and waits until it is gone: until then a socket of its takes connections, which end with it.
///
/// # Panics
/// When it does not end.
pub fn kill_and_wait(id: u32) {
    let Ok(held) = pidfd_open(process(id), PidfdFlags::NONBLOCK) else { return };
    kill(id);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ended = || matches!(poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&now)), Ok(1..));
    assert!(soon(Duration::from_secs(30), ended), "a killed process does not end");
}

/// The gateway's process.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn gateway(chiton: &Chiton) -> Pid {
    let status = chiton.run(&["gateway", "status", "--json"]).expect_success().json();
    process(u32::try_from(status["pid"].as_u64().expect("a process")).expect("an id"))
}

/// Kills the gateway and waits until what it was just starting is a program of its own: until then that has the
/// gateway's lock and its socket.
///
/// # Panics
/// When there is none.
pub fn kill_gateway(chiton: &Chiton) {
    kill_process(gateway(chiton), Signal::KILL).expect("a signal");
    let lock = std::fs::File::open(chiton.path("run").join("gateway.lock")).expect("its lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).expect("its end");
}

fn process(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid")
}

/// A policy that lists the workspace and `/tmp`, with this as its `dynamic.network.http`, one rule a line.
#[must_use]
pub fn http_policy(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!(
        "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\ndynamic:\n  network:\n    http:\n{rules}"
    )
}

/// The reference policy, with a key of the local store in the place of `vault://`.
pub const REFERENCE: &str = include_str!("../../examples/policies/reference.yaml");

/// Packages that `cargo xtask setup` fetched: `python`, `model`, `node` or `sdks`; the program that it built: `ask`.
///
/// # Panics
/// When they are not there.
#[must_use]
pub fn packages(kind: &str) -> PathBuf {
    let root = std::env::var_os("CHITON_TEST_PACKAGES").unwrap_or_else(|| "/var/tmp/chiton-tests".into());
    let folder = PathBuf::from(root).join(kind);
    assert!(
        folder.join(".installed").exists(),
        "component missing: test packages for {kind}; `cargo xtask setup`"
    );
    folder
}

/// Processes of this installation whose arguments begin so.
#[must_use]
pub fn roles(world: &World, role: &str) -> Vec<u32> {
    roles_of(&world.chiton, role)
}

/// The same, without a server beside it.
#[must_use]
pub fn roles_of(chiton: &Chiton, role: &str) -> Vec<u32> {
    // What runs in a container is the engine's, and names its sandbox.
    let (containers, own) = (containers(chiton), chiton.processes());
    let contained: Vec<_> = containers.iter().filter_map(sandbox_of).collect();
    let is_one = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(role) && (contained.iter().any(|id| line.contains(id)) || belongs(&own, *id))
    };
    every_process().into_iter().filter(is_one).collect()
}

/// The containers of this installation's sandboxes, where the tests name an engine.
#[must_use]
pub fn containers(chiton: &Chiton) -> Vec<serde_json::Value> {
    engines::named().map(|engine| engine.containers_of(&chiton.workspace())).unwrap_or_default()
}

/// Whose a container is.
#[must_use]
pub fn sandbox_of(container: &serde_json::Value) -> Option<&str> {
    container["Labels"]["dev.chiton.sandbox"].as_str()
}

fn every_process() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The roles clear their environment: they are told by the user they run as and the gateway they descend from.
fn belongs(own: &[u32], id: u32) -> bool {
    let mut id = id;
    for _ in 0..16 {
        if own.contains(&id) {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:")).and_then(|p| p.trim().parse().ok());
        match parent {
            Some(parent) if parent > 1 => id = parent,
            _ => return false,
        }
    }
    false
}
