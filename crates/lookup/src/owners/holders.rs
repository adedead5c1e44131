//! Who holds a socket now. A program that a connection was handed to would be judged as the one that made it.
//!
//! Only what threads hold is seen: a socket on its way between two processes is nobody's for that moment. Threads of one
//! process may have tables of their own, so all are looked at.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
};

use chiton_sys::{Errno, Result, memory};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, StatxFlags},
    path::Arg,
};

use crate::{
    caller::stat_field,
    object::{Identity, Stat},
    read_all,
    shared::Shared,
};

/// A process whose threads come and go for longer cannot be told.
const ROUNDS: usize = 16;

/// A socket, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u64,
    /// Where all sockets are, which nobody sees.
    pub(super) mount: u64,
}

impl Socket {
    pub(super) fn of(socket: impl AsFd) -> Result<Self> {
        let found =
            rustix::fs::statx(socket, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID)?;
        Ok(Self { inode: found.stx_ino, mount: found.stx_mnt_id })
    }
}

/// The processes inside that have this socket, by their numbers there; none where nobody has it, where one of them runs
/// another executable, or cannot be looked at.
pub(super) fn which_run(shared: &Shared, socket: Socket, executable: Identity) -> Option<Vec<u32>> {
    let proc = directory(&shared.judge.root, "proc").ok()?;
    let mut holders = Vec::new();
    for process in numbers(&proc).ok()? {
        // Our own, which never has it.
        if shared.judge.supervisor == Some(process) {
            continue;
        }
        match what_holds(&proc, process, socket) {
            Ok(Some(runs)) if runs == executable => holders.push(process),
            Ok(None) | Err(Errno::NOENT | Errno::SRCH) => {}
            Ok(Some(_)) | Err(_) => return None,
        }
    }
    (!holders.is_empty()).then_some(holders)
}

/// What a process runs, where one of its threads has the socket. A thread that executes a program takes its first
/// thread's place: where some were passed over they are looked at again, until nothing has changed.
fn what_holds(proc: &OwnedFd, process: u32, socket: Socket) -> Result<Option<Identity>> {
    let threads = directory(proc, &format!("{process}/task"))?;
    let mut before = None;
    for _ in 0..ROUNDS {
        let listed = numbers(&threads)?;
        let mut passed_over = Vec::new();
        for &thread in &listed {
            // What a process runs whose first thread has ended can be read from the others alone.
            let runs = holds(&threads, thread, socket).and_then(|holds| match holds {
                true => {
                    let exe = openat(&threads, &*format!("{thread}/exe"), OFlags::PATH)?;
                    Ok(Some(Stat::of(exe)?.identity()))
                }
                false => Ok(None),
            });
            match runs {
                Ok(Some(runs)) => return Ok(Some(runs)),
                // It closed it meanwhile.
                Ok(None) => {}
                Err(Errno::NOENT | Errno::SRCH) => passed_over.push(thread),
                Err(Errno::ACCESS) if is_ending(&threads, thread) => passed_over.push(thread),
                Err(error) => return Err(error),
            }
        }
        let now = Some((listed, passed_over));
        if now.as_ref().is_some_and(|(_, passed_over)| passed_over.is_empty()) || now == before {
            return Ok(None);
        }
        before = now;
    }
    Err(Errno::AGAIN)
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

fn openat(at: &OwnedFd, path: impl Arg + Copy, how: OFlags) -> Result<OwnedFd> {
    memory::with_ptrace(|| rustix::fs::openat(at, path, how | OFlags::CLOEXEC, Mode::empty()))
}

fn directory(at: &OwnedFd, path: &str) -> Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The names in a folder that are numbers.
fn numbers(folder: &OwnedFd) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in memory::with_ptrace(|| Dir::read_from(folder))? {
        numbers.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

fn holds(threads: &OwnedFd, thread: u32, socket: Socket) -> Result<bool> {
    let held = match directory(threads, &format!("{thread}/fd")) {
        // The folder of a process that hides from its own user is root's. What it shows is told elsewhere too, to who
        // may trace the process.
        Err(Errno::ACCESS) if !is_ending(threads, thread) => {
            let told = directory(threads, &format!("{thread}/fdinfo"))?;
            return any(&told, |number| {
                let info = openat(&told, number, OFlags::RDONLY).and_then(read_all)?;
                let field = |name| field(&info, name).ok_or(Errno::ACCESS);
                Ok(field("ino")? == socket.inode && field("mnt_id")? == socket.mount)
            });
        }
        held => held?,
    };
    let name = format!("socket:[{}]", socket.inode);
    any(&held, |number| {
        let target = memory::with_ptrace(|| rustix::fs::readlinkat(&held, number, Vec::with_capacity(64)));
        Ok(target?.as_bytes() == name.as_bytes())
    })
}

/// Whether it is so for one of a thread's descriptors. What is closed meanwhile is not looked at.
fn any(descriptors: &OwnedFd, is_so: impl Fn(&CStr) -> Result<bool>) -> Result<bool> {
    for entry in memory::with_ptrace(|| Dir::read_from(descriptors))? {
        let entry = entry?;
        if entry.file_name().to_bytes().first() == Some(&b'.') {
            continue;
        }
        match is_so(entry.file_name()) {
            Ok(true) => return Ok(true),
            Ok(false) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A number that a file of `fdinfo` tells (`proc_pid_fdinfo(5)`).
fn field(info: &[u8], name: &str) -> Option<u64> {
    let lines = std::str::from_utf8(info).ok()?.lines();
    lines.filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)?.1.trim().parse().ok()
}
