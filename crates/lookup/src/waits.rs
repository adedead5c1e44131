//! Deeds that may block: a FIFO's other end, a connection that nobody takes.
//!
//! The caller can be killed or get a signal meanwhile. Its notification says so, or its `status` does; the
//! worker is then interrupted by a signal, again and again until it is out: at once where the caller died, and
//! before the next open of a FIFO, whose stale reader would take what another reader waits for. So many block
//! at once, no more.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chiton_sys::{Errno, Result, memory, notify, notify::Interruptible};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::{caller::Caller, object::Identity, request::Request};

/// The most workers that block at once; a call that would be one more answers `EAGAIN`. More than programs have of
/// connections that nobody takes.
pub(crate) const MOST_BLOCKED: usize = 256;
/// How often signals are looked for, and a worker that did not hear is called again.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How often a stale worker is called before it is given up on.
const MOST_CALLS: u32 = 500;

struct Wait {
    worker: Interruptible,
    listener: Arc<OwnedFd>,
    id: u64,
    thread: u32,
    /// Readable when the caller is dead.
    pidfd: Arc<OwnedFd>,
    /// The FIFO that is being opened.
    fifo: Option<Identity>,
}

/// The deeds that may be blocking now.
pub(crate) struct Waits {
    table: Mutex<Table>,
    changed: OwnedFd,
}

#[derive(Default)]
struct Table {
    waits: Vec<Wait>,
    closed: bool,
}

impl Waits {
    pub(crate) fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self { table: Mutex::default(), changed: rustix::event::eventfd(0, flags)? })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only where the counter is full, and then the watcher is awake.
        let _awake = rustix::io::write(&self.changed, &1u64.to_ne_bytes());
    }

    /// Gets workers out of opening a FIFO for callers that died: each would count as its reader or writer.
    pub(crate) fn clear(&self, fifo: Identity) {
        for _ in 0..MOST_CALLS {
            let stale: Vec<Interruptible> = {
                let table = self.table();
                let same = table.waits.iter().filter(|wait| wait.fifo == Some(fifo));
                same.filter(|w| !notify::is_waiting(&w.listener, w.id)).map(|w| w.worker).collect()
            };
            if stale.is_empty() {
                return;
            }
            for worker in stale {
                // It fails only where the worker is gone, and then nothing waits.
                let _gone = worker.interrupt();
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }

    /// Does something that may block. None: the caller got a signal, and shall see to it.
    pub(crate) fn during<T>(
        &self,
        request: &Request<'_>,
        fifo: Option<Identity>,
        f: impl Fn() -> Result<T>,
    ) -> Result<Option<T>> {
        let id = request.note.id;
        request.shared.watching.begin(request.shared).map_err(|_| Errno::AGAIN)?;
        let wait = Wait {
            worker: Interruptible::current()?,
            listener: Arc::clone(request.listener),
            id,
            thread: request.note.thread,
            pidfd: Arc::new(held(&request.caller)?),
            fifo,
        };
        {
            let mut table = self.table();
            if table.waits.len() >= MOST_BLOCKED {
                return Err(Errno::AGAIN);
            }
            table.waits.push(wait);
        }
        self.wake();
        let result = loop {
            match f() {
                Err(Errno::INTR) => {
                    if request.confirm().is_err() || request.caller.status().is_ok_and(|s| s.has_signal()) {
                        break Ok(None);
                    }
                }
                other => break other.map(Some),
            }
        };
        self.table().waits.retain(|wait| wait.id != id);
        result
    }

    /// Watches over the deeds, until [`Waits::close`]. Runs on a thread of its own.
    pub(crate) fn watch(&self, host_proc: BorrowedFd<'_>) {
        loop {
            let callers: Vec<Arc<OwnedFd>> = {
                let table = self.table();
                if table.closed {
                    return;
                }
                table.waits.iter().map(|wait| Arc::clone(&wait.pidfd)).collect()
            };
            self.sleep(&callers);
            for wait in self.table().waits.iter().filter(|wait| is_over(wait, host_proc)) {
                // It fails only where the worker is gone, and then nothing waits.
                let _gone = wait.worker.interrupt();
            }
        }
    }

    /// Until a caller dies, something changes, or it is time to look for signals.
    fn sleep(&self, callers: &[Arc<OwnedFd>]) {
        let mut fds: Vec<PollFd<'_>> =
            callers.iter().map(|fd| PollFd::from_borrowed_fd((**fd).as_fd(), PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.changed, PollFlags::IN));
        let tick = (!callers.is_empty()).then_some(&TICK);
        // A failure is a shorter sleep.
        let _woken = rustix::event::poll(&mut fds, tick);
        let _drained = rustix::io::read(&self.changed, &mut [0; 8]);
    }

    pub(crate) fn close(&self) {
        self.table().closed = true;
        self.wake();
    }
}

/// What becomes readable when a caller dies; on kernels before 6.9 for some when its process does, and what is seen of
/// it before is seen at the next tick.
fn held(caller: &Caller<'_>) -> Result<OwnedFd> {
    match memory::open_thread(caller.thread) {
        Err(Errno::INVAL) => memory::open_thread(caller.status()?.process()?),
        other => other,
    }
}

fn is_over(wait: &Wait, host_proc: BorrowedFd<'_>) -> bool {
    if !notify::is_waiting(&wait.listener, wait.id) {
        return true;
    }
    let caller = Caller { thread: wait.thread, host_proc };
    caller.status().is_ok_and(|status| status.has_signal())
}
