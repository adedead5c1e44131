//! Times and how they are printed.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Median, 95th percentile and least of some times.
pub fn show(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().unwrap_or_default();
    println!(
        "{what:<58} median {:>9.1?}  p95 {:>9.1?}  least {:>9.1?}  n={}",
        at(50),
        at(95),
        at(0),
        times.len()
    );
    at(50)
}

/// Runs a command so often, one after the other, and times each as a whole process.
pub fn time(count: usize, command: impl FnMut() -> Command) -> Vec<Duration> {
    time_apart(count, Duration::ZERO, command)
}

/// The same, with a pause before each, which is not counted.
pub fn time_apart(count: usize, pause: Duration, mut command: impl FnMut() -> Command) -> Vec<Duration> {
    let mut once = || {
        std::thread::sleep(pause);
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = command.status().expect("the command starts");
        assert!(status.success(), "{command:?}: {status}");
        begun.elapsed()
    };
    once();
    (0..count).map(|_| once()).collect()
}

/// `bwrap` with everything unshared and its own `/proc`, `/dev` and `/tmp`, in this folder. The arguments may begin
/// with further options.
pub fn bwrap(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--ro-bind",
        "/usr",
        "/usr",
        "--symlink",
        "usr/bin",
        "/bin",
        "--symlink",
        "usr/lib",
        "/lib",
    ]);
    command.args([
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--ro-bind",
        "/etc",
        "/etc",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]);
    command.args(["--tmpfs", "/tmp", "--bind"]).arg(folder).arg("/workspace");
    command.args(["--chdir", "/workspace", "--new-session"]).args(arguments);
    command
}
