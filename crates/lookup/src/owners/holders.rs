//! Who holds a socket now. A program that a connection was handed to would be judged as the one that made it.
//!
//! Only what threads hold is seen: a socket on its way between two processes is nobody's for that moment. Threads of one
//! process may have tables of their own, so all are looked at.

use std::os::fd::{AsFd as _, OwnedFd};

use chiton_sys::{Errno, Result, memory};
use rustix::fs::{Dir, Mode, OFlags};

use crate::{
    caller::stat_field,
    object::{Identity, Stat},
    read_all,
    shared::Shared,
};

/// The processes inside that have this socket, by their numbers there; none where nobody has it, where one of them runs
/// another executable, or cannot be looked at.
pub(super) fn which_run(shared: &Shared, socket: u64, executable: Identity) -> Option<Vec<u32>> {
    let name = format!("socket:[{socket}]");
    let proc = directory(&shared.judge.root, "proc").ok()?;
    let mut holders = Vec::new();
    for process in numbers(&proc).ok()? {
        // Our own, which never has it.
        if shared.judge.supervisor == Some(process) {
            continue;
        }
        match what_holds(&proc, process, name.as_bytes()) {
            Ok(Some(runs)) if runs == executable => holders.push(process),
            Ok(None) | Err(Errno::NOENT | Errno::SRCH) => {}
            Ok(Some(_)) | Err(_) => return None,
        }
    }
    (!holders.is_empty()).then_some(holders)
}

/// What a process runs, where one of its threads has the socket.
fn what_holds(proc: &OwnedFd, process: u32, socket: &[u8]) -> Result<Option<Identity>> {
    let threads = directory(proc, &format!("{process}/task"))?;
    for thread in numbers(&threads)? {
        // What a process runs whose first thread has ended can be read from the others alone.
        let runs = holds(&threads, thread, socket).and_then(|holds| match holds {
            true => Ok(Some(Stat::of(open(&threads, &format!("{thread}/exe"))?)?.identity())),
            false => Ok(None),
        });
        match runs {
            Ok(Some(runs)) => return Ok(Some(runs)),
            // The thread has ended, or closed it.
            Ok(None) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(Errno::ACCESS) if is_ending(&threads, thread) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether a thread runs nothing any more: it is on its way out, or waits for its parent to take notice. From the
/// moment on at which it gives up its memory, what it still holds can be looked at by the host's root alone.
fn is_ending(threads: &OwnedFd, thread: u32) -> bool {
    /// The field of `stat` with the kernel's flags, and the one that is set as a thread ends (`proc_pid_stat(5)`,
    /// `PF_EXITING` of the kernel's `sched.h`).
    const FLAGS: usize = 9;
    const EXITING: i64 = 4;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = rustix::fs::openat(threads, format!("{thread}/stat"), flags, Mode::empty());
    match stat.and_then(read_all).and_then(|text| stat_field(&text, FLAGS)) {
        Ok(flags) => flags & EXITING != 0,
        Err(error) => matches!(error, Errno::NOENT | Errno::SRCH),
    }
}

fn open(at: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    memory::with_ptrace(|| rustix::fs::openat(at, path, flags, Mode::empty()))
}

fn directory(at: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    memory::with_ptrace(|| rustix::fs::openat(at, path, flags, Mode::empty()))
}

/// The names in a folder that are numbers.
fn numbers(folder: &OwnedFd) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in memory::with_ptrace(|| Dir::read_from(folder))? {
        numbers.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

fn holds(threads: &OwnedFd, thread: u32, socket: &[u8]) -> Result<bool> {
    let fds = directory(threads, &format!("{thread}/fd"))?;
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
