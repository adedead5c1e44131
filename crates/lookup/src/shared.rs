//! What all workers of a server share.

use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
};

use crate::{
    calls::{exec::Starts, socket::Sockets},
    event::{Sink, Throttle},
    images::Images,
    judge::Judge,
    owners::{Executables, Owners},
    waits::Waits,
};

/// The state of a server.
pub(crate) struct Shared {
    pub(crate) judge: Judge,
    pub(crate) host_proc: OwnedFd,
    /// The device of the view's own `/proc`.
    pub(crate) proc_device: Option<u64>,
    /// Held for writing while a name moves, for reading while one is made: a directory cannot go, between
    /// judgement and deed, to where the deed would be refused.
    pub(crate) tree: RwLock<()>,
    pub(crate) sockets: Sockets,
    pub(crate) owners: Owners,
    pub(crate) executables: Executables,
    /// Mount points of filesystems that only the sandbox has.
    pub(crate) private: Vec<PathBuf>,
    pub(crate) blocked: HashSet<i32>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) throttle: Throttle,
    /// Reports now and then what the throttle only counted.
    pub(crate) reporting: Beside,
    pub(crate) starts: Starts,
    /// Watches over programs that are about to start.
    pub(crate) watching_starts: Beside,
    pub(crate) images: Images,
    pub(crate) waits: Waits,
    /// Watches over what waits.
    pub(crate) watching: Beside,
}

/// So much stack is enough for each thread of a server.
pub(crate) const STACK: usize = 256 * 1024;

/// A thread beside the workers, begun by the first who needs it.
pub(crate) struct Beside {
    name: &'static str,
    work: fn(&Shared),
    begun: Mutex<bool>,
}

impl Beside {
    /// One that does this when it begins.
    pub(crate) fn new(name: &'static str, work: fn(&Shared)) -> Self {
        Self { name, work, begun: Mutex::new(false) }
    }

    /// Begins it, where it has not begun.
    pub(crate) fn begin(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if !*begun {
            let (shared, work) = (Arc::clone(shared), self.work);
            let thread = thread::Builder::new().name(self.name.into()).stack_size(STACK);
            let _runs_until_the_server_is_dropped = thread.spawn(move || work(&shared))?;
            *begun = true;
        }
        Ok(())
    }
}
