//! `execve`, `execveat`: judged, then left to the kernel, which alone can do it; looked at again afterwards.
//!
//! The file, the interpreters its first lines name, and the loader it asks for are judged first. Once the
//! program runs, the process itself says which file it is: it is reported, and killed if that one is denied,
//! for the name may have been given to another file in between.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chiton_sys::{Errno, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Access, AtFlags, Mode, OFlags},
    process::Signal,
};

use super::interpreter;
use crate::{
    caller::Caller,
    event::Started,
    judge::path_of,
    object::{Kind, Number, Object, Stat},
    request::{Reply, Request, known_flags},
    resolve::{self, How},
    rules::Standing,
    shared::Shared,
    table::{From, Shape},
};

/// As many interpreters of interpreters as the kernel follows.
const MOST_INTERPRETERS: usize = 5;
const MOST_ARGUMENTS: usize = 1 << 20;
/// After so long a start that cannot be seen is taken to have been one.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(64);
/// The field of `stat` that every start changes: where the stack begins.
const STACK: usize = 28;

pub(crate) fn execve(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    known_flags(request.at_flags(shape), libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    request.executes.set(true);
    let object = request.object(shape)?;
    may_run(request, &object)?;
    let script = judge_interpreters(request, &object)?;
    let arguments = count(request, request.word(shape.rest))?;
    let status = request.caller.status()?;
    let process = status.process()?;
    let pending = Pending {
        pidfd: chiton_sys::memory::open_thread(process)?,
        stack: request.caller.stat_field(STACK)?,
        script: script.then(|| object.path.clone()),
        file: object.path,
        arguments,
        since: Instant::now(),
    };
    request.confirm()?;
    request.shared.images.begins(request.shared, process, &status);
    request.shared.starts.add(request.shared, process, pending);
    Ok(Reply::Continue)
}

fn may_run(request: &Request<'_>, object: &Object) -> Result<()> {
    match object.kind() {
        Kind::File => {}
        Kind::Symlink => return Err(Errno::LOOP),
        Kind::Directory | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => {
            return Err(Errno::ACCESS);
        }
    }
    let number = Number::of(&object.fd)?;
    rustix::fs::accessat(&request.shared.judge.own, number.as_c_str(), Access::EXEC_OK, AtFlags::EACCESS)
}

/// Judges what the kernel will open beside the file. Whether the file is a script.
fn judge_interpreters(request: &Request<'_>, object: &Object) -> Result<bool> {
    let mut head = head(request, object);
    let mut is_script = false;
    for _ in 0..MOST_INTERPRETERS {
        let Some(named) = head.as_deref().and_then(interpreter::of) else { break };
        is_script |= named.is_script;
        // A relative one starts from the working directory, as the kernel has it.
        let start = request.start(From::Cwd, &named.path)?;
        let next = resolve::find(request, &start, &named.path, How::new(true))?;
        head = self::head(request, &next);
    }
    Ok(is_script)
}

/// The beginning of a file; none where it can be run but not read.
fn head(request: &Request<'_>, object: &Object) -> Option<Vec<u8>> {
    let number = Number::of(&object.fd).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(&request.shared.judge.own, number.as_c_str(), flags, Mode::empty()).ok()?;
    let mut head = vec![0; interpreter::HEAD];
    let got = rustix::io::read(&fd, head.as_mut_slice()).ok()?;
    head.truncate(got);
    Some(head)
}

/// How many pointers there are before the null.
fn count(request: &Request<'_>, address: u64) -> Result<usize> {
    if address == 0 {
        return Ok(0);
    }
    let mut count = 0usize;
    while count < MOST_ARGUMENTS {
        let at = address.checked_add(count as u64 * 8).ok_or(Errno::FAULT)?;
        let to_page_end = 4096 - usize::try_from(at % 4096).unwrap_or(0);
        let mut buffer = vec![0; to_page_end.clamp(8, 512)];
        request.caller.read(at, &mut buffer)?;
        let words = buffer.chunks_exact(8);
        let whole = words.len();
        match words.into_iter().position(|word| word.iter().all(|&b| b == 0)) {
            Some(null) => return Ok(count.saturating_add(null)),
            None => count = count.saturating_add(whole),
        }
    }
    Err(Errno::TOOBIG)
}

struct Pending {
    pidfd: OwnedFd,
    stack: i64,
    file: PathBuf,
    script: Option<PathBuf>,
    arguments: usize,
    since: Instant,
}

/// Starts that were let through and not yet seen.
#[derive(Default)]
pub(crate) struct Starts {
    table: Mutex<Table>,
    count: AtomicUsize,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    pending: HashMap<u32, Pending>,
    closed: bool,
}

enum Seen {
    NotYet,
    Gone,
    Runs,
}

impl Starts {
    fn add(&self, shared: &Shared, process: u32, pending: Pending) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let before = table.pending.insert(process, pending);
        self.count.store(table.pending.len(), Ordering::Release);
        self.changed.notify_one();
        drop(table);
        // A start right after another that was not seen: the first one failed, or went by too fast to look at.
        if let Some(before) = before
            && matches!(look(shared, process, &before), Seen::Runs)
        {
            report(shared, process, &before);
        }
    }

    /// Looks whether a process that makes a call has been started since.
    pub(crate) fn look_at(&self, shared: &Shared, thread: u32) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = table.pending.get(&thread).is_some_and(|p| matches!(look(shared, thread, p), Seen::Runs));
        let started = if runs { table.pending.remove(&thread) } else { None };
        self.count.store(table.pending.len(), Ordering::Release);
        drop(table);
        if let Some(pending) = started {
            finish(shared, thread, &pending);
        }
    }

    /// Looks again and again, for programs that make no call. Runs on a thread of its own.
    pub(crate) fn watch(&self, shared: &Shared) {
        let mut pause = FIRST_LOOK;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        while !table.closed {
            if table.pending.is_empty() {
                pause = FIRST_LOOK;
                table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            table = self.changed.wait_timeout(table, pause).unwrap_or_else(PoisonError::into_inner).0;
            pause = pause.saturating_mul(2).min(LAST_LOOK);
            let seen: Vec<(u32, Pending)> = table
                .pending
                .extract_if(|process, pending| {
                    !matches!(look(shared, *process, pending), Seen::NotYet)
                        || pending.since.elapsed() > PATIENCE
                })
                .collect();
            self.count.store(table.pending.len(), Ordering::Release);
            drop(table);
            for (process, pending) in &seen {
                finish(shared, *process, pending);
            }
            table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn close(&self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

/// Whether the process runs another program than when it asked.
fn look(shared: &Shared, process: u32, pending: &Pending) -> Seen {
    let caller = Caller { thread: process, host_proc: shared.host_proc.as_fd() };
    match caller.stat_field(STACK) {
        Ok(stack) if stack == pending.stack => Seen::NotYet,
        Ok(_) => Seen::Runs,
        Err(_) => Seen::Gone,
    }
}

fn finish(shared: &Shared, process: u32, pending: &Pending) {
    let own = &shared.judge.own;
    let caller = Caller { thread: process, host_proc: shared.host_proc.as_fd() };
    let runs = caller.proc("exe", OFlags::PATH).and_then(|fd| Ok((path_of(own, &fd)?, Stat::of(&fd)?)));
    // The number is still the process's where its own descriptor says that it lives.
    let lives = lives(&pending.pidfd);
    let Ok((file, stat)) = runs else { return report(shared, process, pending) };
    if !lives {
        return report(shared, process, pending);
    }
    if shared.judge.opened(&file, &stat) == Standing::Denied {
        // It fails only where the process is gone already.
        let _gone = rustix::process::pidfd_send_signal(&pending.pidfd, Signal::KILL);
        shared.sink.exec_denied(process, &file);
        return;
    }
    let started = Started { file: &file, script: pending.script.as_deref(), arguments: pending.arguments };
    shared.sink.exec_started(process, &started);
}

/// A process's descriptor becomes readable at its end.
fn lives(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
}

/// Reports a start by the file that was judged, for the process is gone.
fn report(shared: &Shared, process: u32, pending: &Pending) {
    let started =
        Started { file: &pending.file, script: pending.script.as_deref(), arguments: pending.arguments };
    shared.sink.exec_started(process, &started);
}
