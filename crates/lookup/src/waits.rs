//! Deeds that may block: a FIFO's other end, a connection that nobody takes.
//!
//! The caller can be killed or get a signal meanwhile. Its notification says so, or its `status` does; the
//! worker is then interrupted by a signal, again and again until it is out. So many block at once, no more.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use chiton_sys::{Errno, Result, notify, notify::Interruptible};

use crate::{caller::Caller, request::Request};

/// The most workers that block at once.
const MOST: usize = 32;
const TICK: Duration = Duration::from_millis(20);

struct Wait {
    worker: Interruptible,
    listener: Arc<OwnedFd>,
    id: u64,
    thread: u32,
}

/// The deeds that may be blocking now.
#[derive(Default)]
pub(crate) struct Waits {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    waits: Vec<Wait>,
    closed: bool,
}

impl Waits {
    /// Does something that may block. None: the caller got a signal, and shall see to it.
    pub(crate) fn during<T>(&self, request: &Request<'_>, f: impl Fn() -> Result<T>) -> Result<Option<T>> {
        let id = request.note.id;
        let wait = Wait {
            worker: Interruptible::current()?,
            listener: Arc::clone(request.listener),
            id,
            thread: request.note.thread,
        };
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.waits.len() >= MOST {
                return Err(Errno::AGAIN);
            }
            table.waits.push(wait);
        }
        self.changed.notify_all();
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
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.waits.retain(|wait| wait.id != id);
        result
    }

    /// Watches over the deeds, until [`Waits::close`]. Runs on a thread of its own.
    pub(crate) fn watch(&self, host_proc: BorrowedFd<'_>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        while !table.closed {
            if table.waits.is_empty() {
                table = self.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            for wait in &table.waits {
                if is_over(wait, host_proc) {
                    // It fails only where the worker is gone, and then nothing waits.
                    let _gone = wait.worker.interrupt();
                }
            }
            table = self.changed.wait_timeout(table, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn close(&self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

fn is_over(wait: &Wait, host_proc: BorrowedFd<'_>) -> bool {
    if !notify::is_waiting(&wait.listener, wait.id) {
        return true;
    }
    let caller = Caller { thread: wait.thread, host_proc };
    caller.status().is_ok_and(|status| status.has_signal())
}
