//! Which script a process was started with, read before the program it became makes its first call that waits for us.
//!
//! In: every start that is let through, and every call. Out: the two paths that may name a script, as the kernel gave
//! them to the new program: what it was told to execute, and its first argument. They stand in memory that is the
//! process's own from then on, so they are read at the program's first call that waits for us: until then nothing ran
//! but the loader, which has opened no other file yet. Where somebody traces the process, or a filter of the agent's own
//! could have answered calls before, nothing is known (docs/decisions/0024).
//!
//! What always holds: only a start changes where a stack begins, for the filter refuses to say something else of it. So
//! a process whose stack begins elsewhere than when it asked for a start runs the new program, and the first call that
//! it makes then is the first one at all. Where that cannot be read nothing is known. Numbers of processes are given
//! again: each is told by when it began too, and what was read counts where the call waits still. Every further start
//! forgets what is known here before it is done. A process that another one forked has no script: it was never started.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsStr,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use chiton_sys::{Errno, Result};
use rustix::fs::OFlags;

use crate::{
    caller::{Caller, Status, stat_field},
    read_all,
    request::Request,
    shared::Shared,
};

/// The newest ones are kept.
const MOST: usize = 16 << 10;
/// The name and the first argument of a process are looked for in as many bytes.
const ARGUMENTS: usize = 8 << 10;
/// The fields of `stat`: when the process began, and where its stack begins.
const BEGAN: usize = 22;
const STACK: usize = 28;
/// The entry of the auxiliary vector with the address of the path that was executed.
const EXECUTED: u64 = 31;

/// What is known of started processes.
#[derive(Default)]
pub(crate) struct Images {
    table: Mutex<Table>,
    /// Whether any start was let through and not seen yet.
    awaits: AtomicBool,
}

#[derive(Default)]
struct Table {
    /// What processes were when they asked for a start.
    awaited: HashMap<u32, Seen>,
    running: HashMap<u32, Image>,
    /// In the order of their starts. An entry whose number is not its process's is stale.
    order: VecDeque<(u32, u64)>,
    last: u64,
}

/// What tells a process, and the program that it runs, from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    began: i64,
    stack: i64,
}

impl Seen {
    /// Of a process. Where the stack begins reads as nought for who makes itself unreadable.
    fn of(caller: &Caller<'_>) -> Result<Self> {
        let text = read_all(caller.proc("stat", OFlags::RDONLY)?.as_fd())?;
        let seen = Self { began: stat_field(&text, BEGAN)?, stack: stat_field(&text, STACK)? };
        if seen.stack == 0 { Err(Errno::ACCESS) } else { Ok(seen) }
    }
}

struct Image {
    number: u64,
    began: i64,
    paths: Paths,
}

/// What may name a script; absolute paths alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    /// What was executed.
    pub(crate) executed: Option<PathBuf>,
    /// The first argument.
    pub(crate) first: Option<PathBuf>,
}

/// A process as it was started, with the paths that may name its script. It is the same as long as
/// [`Images::is`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    process: u32,
    number: u64,
    /// As it is called inside.
    pub(crate) inside: u32,
    pub(crate) paths: Paths,
}

impl Images {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process is about to start a program, by a thread with this status.
    pub(crate) fn begins(&self, shared: &Shared, process: u32, status: &Status) {
        let seen = Seen::of(&Caller { thread: process, host_proc: shared.host_proc.as_fd() });
        // Who traces it could write the new program's arguments before we read them, and leave it.
        self.table().begins(process, seen.ok().filter(|_| !status.is_traced()));
        self.awaits.store(true, Ordering::Release);
    }

    /// A thread makes a call: where it is a new program's first one, what that was started with is read. So many
    /// `filters` are ours.
    pub(crate) fn look_at(&self, request: &Request<'_>, filters: Option<u32>) {
        if !self.awaits.load(Ordering::Acquire) {
            return;
        }
        // After a start the only thread has the process's number.
        let thread = request.caller.thread;
        let Some(before) = self.table().awaited.get(&thread).copied() else { return };
        let Ok(now) = Seen::of(&request.caller) else { return };
        if now.began != before.began || now.stack == before.stack {
            return;
        }
        let read = read(&request.caller).and_then(|paths| {
            let status = request.caller.status()?;
            // A filter of the agent's own may have answered calls before this one.
            let is_first = Some(status.filters()?) == filters;
            if is_first && !status.is_traced() { Ok(paths) } else { Err(Errno::ACCESS) }
        });
        // A thread that a start has ended does not wait; what was read may be of later.
        if request.confirm().is_ok() {
            let mut table = self.table();
            table.runs(thread, read.ok().map(|paths| (now.began, paths)));
            self.awaits.store(!table.awaited.is_empty(), Ordering::Release);
        }
    }

    /// How the process of a thread was started; none where that is not known.
    pub(crate) fn of(&self, caller: &Caller<'_>) -> Option<Started> {
        if self.table().running.is_empty() {
            return None;
        }
        let status = caller.status().ok().filter(|status| !status.is_traced())?;
        let process = status.process().ok()?;
        let (inside, _) = status.inside().ok()?;
        let began = Caller { thread: process, ..*caller }.stat_field(BEGAN).ok()?;
        let table = self.table();
        let image = table.running.get(&process).filter(|image| image.began == began)?;
        Some(Started { process, number: image.number, inside, paths: image.paths.clone() })
    }

    /// Whether a process still runs what it was started with, and nobody traces it.
    pub(crate) fn is(&self, shared: &Shared, started: &Started) -> bool {
        let caller = Caller { thread: started.process, host_proc: shared.host_proc.as_fd() };
        let began = caller.stat_field(BEGAN).ok();
        if !caller.status().is_ok_and(|status| !status.is_traced()) {
            return false;
        }
        let table = self.table();
        let image = table.running.get(&started.process);
        image.is_some_and(|image| image.number == started.number && Some(image.began) == began)
    }
}

impl Table {
    fn begins(&mut self, process: u32, seen: Option<Seen>) {
        self.running.remove(&process);
        self.awaited.remove(&process);
        // Starts that failed, and processes that ended before their first call. Without its entry a start is not seen.
        if self.awaited.len() >= MOST {
            self.awaited.clear();
        }
        self.awaited.extend(seen.map(|seen| (process, seen)));
    }

    fn runs(&mut self, process: u32, read: Option<(i64, Paths)>) {
        self.awaited.remove(&process);
        let Some((began, paths)) = read.filter(|(_, paths)| *paths != Paths::default()) else { return };
        self.last = self.last.wrapping_add(1);
        self.running.insert(process, Image { number: self.last, began, paths });
        self.order.push_back((process, self.last));
        while self.order.len() > MOST {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.running.get(&oldest).is_some_and(|image| image.number == number) {
                self.running.remove(&oldest);
            }
        }
    }
}

fn read(caller: &Caller<'_>) -> Result<Paths> {
    let mut arguments = vec![0; ARGUMENTS];
    let got = rustix::io::read(caller.proc("cmdline", OFlags::RDONLY)?, arguments.as_mut_slice())?;
    let first = first_argument(arguments.get(..got).unwrap_or_default());
    let vector = read_all(caller.proc("auxv", OFlags::RDONLY)?.as_fd())?;
    let executed = caller.string(entry(&vector, EXECUTED).ok_or(Errno::NOENT)?)?;
    Ok(Paths { executed: absolute(&executed), first: first.and_then(absolute) })
}

/// From where a relative path starts another process may change in between.
fn absolute(path: &[u8]) -> Option<PathBuf> {
    path.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(path)))
}

/// What stands whole between the first NUL and the second.
fn first_argument(arguments: &[u8]) -> Option<&[u8]> {
    let mut words = arguments.split(|&byte| byte == 0);
    let (_, first, _) = (words.next()?, words.next()?, words.next()?);
    Some(first)
}

/// The value of an entry of an auxiliary vector.
fn entry(vector: &[u8], wanted: u64) -> Option<u64> {
    let mut pairs = vector.chunks_exact(16);
    pairs.find_map(|pair| {
        let (kind, value) = pair.split_first_chunk::<8>()?;
        (u64::from_ne_bytes(*kind) == wanted).then(|| value.first_chunk().map(|v| u64::from_ne_bytes(*v)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_told_whole_or_not() {
        assert_eq!(first_argument(b"python3\0/opt/tool.py\0-x\0"), Some(&b"/opt/tool.py"[..]));
        assert_eq!(first_argument(b"\0/opt/tool.py\0"), Some(&b"/opt/tool.py"[..]));
        assert_eq!(first_argument(b"python3\0/opt/tool"), None);
        assert_eq!(first_argument(b"python3\0"), None);
        assert_eq!(first_argument(b""), None);
    }

    #[test]
    fn an_entry_of_the_vector() {
        let vector: Vec<u8> = [6u64, 4096, 31, 77, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!((entry(&vector, 31), entry(&vector, 5)), (Some(77), None));
    }

    #[test]
    fn a_further_start_forgets_and_so_does_what_cannot_be_read() {
        let images = Images::default();
        let started =
            || Some((1, Paths { first: absolute(b"/opt/tool.py"), executed: absolute(b"tool.py") }));
        images.table().begins(7, Some(Seen { began: 1, stack: 100 }));
        images.table().runs(7, started());
        assert!(images.table().running.contains_key(&7) && images.table().awaited.is_empty());
        images.table().begins(7, None);
        assert!(images.table().running.is_empty() && images.table().awaited.is_empty());
        images.table().runs(7, None);
        assert!(images.table().running.is_empty() && images.table().awaited.is_empty());
        for process in 0..=u32::try_from(MOST).unwrap() {
            images.table().runs(process, started());
        }
        assert_eq!(images.table().running.len(), MOST);
        assert!(!images.table().running.contains_key(&0), "the oldest is forgotten");
    }
}
