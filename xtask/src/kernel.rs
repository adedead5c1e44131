//! `cargo xtask kernel`: the native driver's suite on another kernel than this machine's, Debian's own, in QEMU.
//!
//! It takes some five minutes. What it needs is named where it is missing; it is no part of `test`.

use std::fs;

use crate::run::{Failed, Step, cargo, found};

const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "apt-get install qemu-system-x86"),
    ("busybox", "apt-get install busybox-static"),
    ("depmod", "apt-get install kmod"),
    ("mkfs.ext4", "apt-get install e2fsprogs"),
    ("apt-get", "run it on Debian: the kernel is one of its packages"),
];

/// Builds the suite and runs it there.
pub fn run() -> Result<(), Failed> {
    if let Some((component, mend)) = NEEDED.iter().find(|(program, _)| !found(program)) {
        return Err(Failed::Missing { component, mend });
    }
    let arguments = ["test", "--locked", "-p", "chiton-driver-native", "--test", "native", "--no-run"];
    cargo(&arguments).run("build the suite")?;
    let built = cargo(&arguments).with(&["--message-format", "json"]).output();
    let program = executable(&built).ok_or_else(|| Failed::Step("no suite was built".into()))?;
    let folder = crate::target().join("kernel");
    fs::create_dir_all(&folder).map_err(|error| Failed::File(folder.clone(), error))?;
    Step::new("sh")
        .with(&["xtask/kernel/run.sh", program, &folder.to_string_lossy()])
        .run("the suite on Debian's kernel")
}

/// The path of a test's program, out of what cargo tells of each artifact.
fn executable(told: &str) -> Option<&str> {
    let line = told
        .lines()
        .find(|line| line.contains(r#""name":"native""#) && line.contains(r#""executable":""#))?;
    line.split_once(r#""executable":""#)?.1.split('"').next()
}
