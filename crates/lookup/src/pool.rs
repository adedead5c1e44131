//! The workers of one listener. They grow with the calls that are held up and shrink again, and end when every
//! process that the filter was on is gone.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use chiton_sys::{
    Errno, memory,
    notify::{self, Answer},
};
use rustix::event::{PollFd, PollFlags};

use crate::{
    caller::Caller,
    request::{Reply, Request},
    shared::{STACK, Shared},
    table,
    waits::MOST_BLOCKED,
};

/// Workers that a listener starts with.
const FIRST_WORKERS: usize = 2;
/// Workers that stay when there is nothing to do: as many as programs of many threads keep busy at once, or a
/// worker would be made and ended for every call of theirs.
const IDLE_WORKERS: usize = 16;
/// Workers of one listener, at most. As many may block as [`crate::waits`] allows, and others still serve.
const MOST_WORKERS: usize = MOST_BLOCKED + 16;
const X86_64: u32 = 0xc000_003e;

/// A listener and its workers.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    listener: Arc<OwnedFd>,
    /// Taken by the worker that waits for a call, on kernels that would leave others waiting for ever.
    turn: Option<Mutex<()>>,
    /// How many filters a program here has that set itself none. The first call is still our own, which starts the
    /// agent's program.
    filters: OnceLock<Option<u32>>,
    idle: AtomicUsize,
    total: AtomicUsize,
}

impl Pool {
    /// Serves a listener, if there is a thread for it.
    pub(crate) fn start(shared: Arc<Shared>, listener: OwnedFd) -> io::Result<()> {
        let pool = Arc::new(Self {
            shared,
            listener: Arc::new(listener),
            turn: (!notify::receive_tells_the_end()).then(Mutex::default),
            filters: OnceLock::new(),
            idle: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
        });
        pool.spawn()?;
        for _ in 1..FIRST_WORKERS {
            // The first makes others when it needs them.
            let _slower = pool.spawn();
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        self.total.fetch_add(1, Ordering::AcqRel);
        self.idle.fetch_add(1, Ordering::AcqRel);
        let pool = Arc::clone(self);
        let spawned =
            thread::Builder::new().name("lookup".into()).stack_size(STACK).spawn(move || pool.work());
        if spawned.is_err() {
            self.total.fetch_sub(1, Ordering::AcqRel);
            self.idle.fetch_sub(1, Ordering::AcqRel);
        }
        spawned.map(drop)
    }

    fn work(self: &Arc<Self>) {
        if memory::unshare_directory_and_umask().is_ok() {
            while self.serve_one() {}
        }
        self.total.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits for a call and answers it. False: this worker is not needed any more.
    fn serve_one(self: &Arc<Self>) -> bool {
        let note = match self.next() {
            Ok(note) => note,
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(Errno::NOENT) if !self.is_over() => return true,
            Err(_) => {
                self.idle.fetch_sub(1, Ordering::AcqRel);
                return false;
            }
        };
        let last_idle = self.idle.fetch_sub(1, Ordering::AcqRel) == 1;
        if last_idle && self.total.load(Ordering::Acquire) < MOST_WORKERS {
            // Without one the next call waits for this one.
            let _slower = self.spawn();
        }
        let (id, outcome) = self.serve(note);
        // Before the caller goes on: its next call finds a worker, and no other is made for it.
        let stays = self.idle.load(Ordering::Acquire) < IDLE_WORKERS;
        if stays {
            self.idle.fetch_add(1, Ordering::AcqRel);
        }
        // It fails where the caller is gone.
        let _gone = self.answer(id, outcome);
        stays
    }

    fn next(&self) -> chiton_sys::Result<notify::Notification> {
        let Some(turn) = &self.turn else { return notify::receive(&self.listener) };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        // There is a call, which nobody else takes, or the end.
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        rustix::event::poll(&mut fds, None)?;
        let is_there = fds.iter().any(|fd| fd.revents().contains(PollFlags::IN));
        if is_there { notify::receive(&self.listener) } else { Err(Errno::NOENT) }
    }

    /// Whether every process of the filter is gone.
    fn is_over(&self) -> bool {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    }

    fn serve(&self, note: notify::Notification) -> (u64, chiton_sys::Result<Reply>) {
        let shared = &self.shared;
        shared.starts.look_at(shared, note.thread);
        let request = Request {
            shared,
            listener: &self.listener,
            note,
            caller: Caller { thread: note.thread, host_proc: shared.host_proc.as_fd() },
            executes: Cell::new(false),
        };
        let filters = self.filters.get_or_init(|| filters(&request).ok());
        shared.images.look_at(&request, *filters);
        // A fault of ours is the caller's error, never its permission.
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(&request))).unwrap_or(Err(Errno::IO));
        (note.id, outcome)
    }

    fn answer(&self, id: u64, outcome: chiton_sys::Result<Reply>) -> chiton_sys::Result<()> {
        let answer = match outcome {
            Ok(Reply::Value(value)) => Answer::Value(value),
            Ok(Reply::Continue) => Answer::Continue,
            Ok(Reply::Restart) => Answer::Restart,
            Ok(Reply::Descriptor { fd, close_on_exec, writes }) => {
                return self.hand_over(id, fd, close_on_exec, writes);
            }
            Err(errno) => Answer::Error(errno),
        };
        notify::answer(&self.listener, id, answer)
    }

    fn hand_over(&self, id: u64, fd: OwnedFd, close_on_exec: bool, writes: bool) -> chiton_sys::Result<()> {
        let answered = if writes {
            notify::add_descriptor(&self.listener, id, fd.as_fd(), close_on_exec).and_then(|number| {
                drop(fd);
                notify::answer(&self.listener, id, Answer::Value(number.into()))
            })
        } else {
            notify::answer_descriptor(&self.listener, id, fd.as_fd(), close_on_exec)
        };
        match answered {
            Ok(()) => Ok(()),
            // Its table is full, or it is gone.
            Err(errno) => notify::answer(&self.listener, id, Answer::Error(errno)),
        }
    }
}

fn filters(request: &Request<'_>) -> chiton_sys::Result<u32> {
    let filters = request.caller.status()?.filters();
    request.confirm()?;
    filters
}

fn judge(request: &Request<'_>) -> chiton_sys::Result<Reply> {
    if request.note.architecture != X86_64 {
        return Err(Errno::NOSYS);
    }
    if request.shared.blocked.contains(&request.note.number) {
        let process = request.caller.status().and_then(|s| s.process()).unwrap_or(request.note.thread);
        request.shared.sink.call_refused(process, request.note.number.unsigned_abs());
        return Err(Errno::PERM);
    }
    let call = table::find(request.note.number).ok_or(Errno::NOSYS)?;
    (call.act)(request, &call.shape)
}
