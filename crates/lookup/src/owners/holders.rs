//! Who holds a socket now. A program that a connection was handed to would be judged as the one that made it.
//!
//! Only what processes hold is seen: a socket on its way between two of them is nobody's for that moment.

use std::os::fd::{AsFd as _, OwnedFd};

use chiton_sys::{Errno, Result, memory};
use rustix::fs::{Dir, Mode, OFlags};

use crate::{
    object::{Identity, Stat},
    shared::Shared,
};

/// The processes inside that have this socket, by their numbers there; none where one of them runs another executable,
/// or cannot be looked at.
pub(super) fn which_run(shared: &Shared, socket: u64, executable: Identity) -> Option<Vec<u32>> {
    let name = format!("socket:[{socket}]");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(&shared.judge.root, c"proc", flags, Mode::empty());
    let proc = proc.ok()?;
    let mut holders = Vec::new();
    for entry in Dir::read_from(&proc).ok()? {
        let Some(process) = entry.ok()?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // Our own, which never has it.
        if shared.judge.supervisor == Some(process) {
            continue;
        }
        let run = holds(&proc, process, name.as_bytes()).and_then(|holds| match holds {
            true => Ok(Some(Stat::of(open(&proc, &format!("{process}/exe"))?)?.identity())),
            false => Ok(None),
        });
        match run {
            Ok(Some(run)) if run == executable => holders.push(process),
            Ok(None) | Err(Errno::NOENT | Errno::SRCH) => {}
            Ok(Some(_)) | Err(_) => return None,
        }
    }
    Some(holders)
}

fn open(at: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    memory::with_ptrace(|| rustix::fs::openat(at, path, flags, Mode::empty()))
}

fn holds(proc: &OwnedFd, process: u32, socket: &[u8]) -> Result<bool> {
    let path = format!("{process}/fd");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fds = memory::with_ptrace(|| rustix::fs::openat(proc, path.as_str(), flags, Mode::empty()))?;
    for entry in memory::with_ptrace(|| Dir::read_from(&fds))? {
        let entry = entry?;
        let number = entry.file_name();
        if number.to_bytes().first() == Some(&b'.') {
            continue;
        }
        let target =
            memory::with_ptrace(|| rustix::fs::readlinkat(fds.as_fd(), number, Vec::with_capacity(64)));
        match target {
            Ok(target) if target.as_bytes() == socket => return Ok(true),
            // Closed meanwhile.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
