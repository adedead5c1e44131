//! Starting, an idle sandbox's memory, applying a policy.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chiton_testkit::{As, Chiton};

use crate::figures::{bwrap, show, time_apart};

/// Workspace, `/tmp`, a denied path, one host.
pub const POLICY: &str = "\
static:
  filesystem:
    allowed_paths: [/workspace, /tmp]
    denied_paths: [/workspace/.env]
  process:
    blocked_syscalls: [ptrace, mount, reboot]
dynamic:
  network:
    http:
      - {host: bench.example, methods: ['*']}
";

/// Who runs it: the caller, root or not.
pub fn user() -> As {
    if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        As::Root
    } else {
        As::User
    }
}

pub fn start() {
    let chiton = Chiton::new(user());
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    // One after the other, a start shares the machine with what the one before leaves: its end, and the next proxy.
    for (how, pause) in [("one after the other", 0), ("50 ms apart", 50)] {
        let pause = Duration::from_millis(pause);
        let run = ["run", "--rm", "-p", policy, "--", "true"];
        let ours = time_apart(60, pause, || chiton.command(&run));
        let ours = show(&format!("chiton run --rm -- true (gateway up), {how}"), ours);
        let peer = time_apart(60, pause, || bwrap(&chiton.workspace(), &["true"]));
        let peer = show(&format!("bwrap --unshare-all -- true, {how}"), peer);
        println!("{:<58} {:.2}×", "  ours / bwrap", ours.as_secs_f64() / peer.as_secs_f64());
    }
}

pub fn memory() {
    let chiton = Chiton::new(user());
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    let before = roles();
    for name in ["one", "two", "three"] {
        let _ = chiton.run(&["run", "-d", "-n", name, "-p", policy, "--", "sleep", "600"]).expect_success();
    }
    let after: Vec<_> = roles().into_iter().filter(|(id, _)| !before.iter().any(|(b, _)| b == id)).collect();
    for role in ["chiton supervisor", "chiton proxy"] {
        let each: Vec<u64> =
            after.iter().filter(|(_, r)| r.starts_with(role)).map(|(id, _)| pss(*id)).collect();
        println!("{role:<58} PSS of each, KiB: {each:?}");
    }
    for name in ["one", "two", "three"] {
        let _ = chiton.run(&["rm", "-f", name]).expect_success();
    }
}

pub fn apply() {
    let chiton = Chiton::new(user());
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    let _ = chiton.run(&["run", "-d", "-n", "apply", "-p", policy, "--", "sleep", "600"]).expect_success();
    let times = (0..40).map(|n| {
        let changed = chiton.policy(&POLICY.replace("bench.example", &format!("bench{n}.example")));
        let mut command = chiton.command(&["policy", "apply", "apply", changed.to_str().expect("a path")]);
        let begun = Instant::now();
        assert!(command.output().expect("chiton").status.success());
        begun.elapsed()
    });
    show("chiton policy apply, to enforced, as a whole command", times.collect());
    let _ = chiton.run(&["rm", "-f", "apply"]).expect_success();
}

pub fn roles() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let line = |id: u32| {
        fs::read(format!("/proc/{id}/cmdline")).map(|l| String::from_utf8_lossy(&l).replace('\0', " "))
    };
    ids.filter_map(|id| Some((id, line(id).ok()?))).filter(|(_, l)| l.starts_with("chiton ")).collect()
}

pub fn pss(id: u32) -> u64 {
    let text = fs::read_to_string(Path::new(&format!("/proc/{id}/smaps_rollup"))).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
