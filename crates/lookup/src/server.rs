//! Takes notifications from any number of listeners and answers each, on a few threads to a listener.
//!
//! In: listeners, at any time. Out: one pool of workers for each.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use chiton_sys::{Errno, notify};
use rustix::fs::{Mode, OFlags};

use crate::{
    event::Sink,
    judge::{Judge, Unmasked},
    object::Stat,
    owners::{self, Ends, Owner},
    pool::Pool,
    rules::Rules,
    scan::{self, Looked},
    shared::{Beside, Shared},
    view::View,
};

/// What a server needs to know. The process is in the sandbox's user, mount and network namespaces, its root is
/// the sandbox's view, and it is in a pid namespace that sees the agent's processes.
pub struct LookupConfig {
    /// The file rules.
    pub rules: Box<dyn Rules>,
    /// A procfs that shows this process and the agent's.
    pub host_proc: OwnedFd,
    /// The view's root.
    pub root: OwnedFd,
    /// The folders that came from the host by the policy's word, as seen inside.
    pub live: Vec<PathBuf>,
    /// Mount points of filesystems that only the sandbox has: sockets there are its own.
    pub private: Vec<PathBuf>,
    /// Our own process inside, by its number there: its entry in `/proc` is refused.
    pub supervisor: Option<u32>,
    /// Call numbers that are answered with EPERM and reported.
    pub blocked: HashSet<u32>,
    /// Where events go.
    pub sink: Box<dyn Sink>,
}

/// Why a server, or a listener of it, could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The procfs does not show this process.
    #[error("cannot read this process's own entry in the host's /proc: {0}")]
    HostProc(#[source] Errno),
    /// The mount table could not be read.
    #[error("cannot read the mount table: {0}")]
    Mounts(#[source] Errno),
    /// No descriptor to wake a thread with could be made.
    #[error("cannot make an event descriptor: {0}")]
    Event(#[source] Errno),
    /// No thread could be started.
    #[error("cannot start a thread for lookups: {0}")]
    Thread(#[source] std::io::Error),
}

/// Whose connections are, and where names of executables lead.
pub struct Ownership(Arc<Shared>);

impl Ownership {
    /// Whose a connection is. None where that cannot be told for certain. Each connection is told once.
    #[must_use]
    pub fn owner_of(&self, ends: &Ends) -> Option<Owner> {
        owners::owner_of(&self.0, ends)
    }

    /// The file that an absolute path leads to, symlinks followed. None where it leads to none, or where the agent
    /// could lead it elsewhere.
    #[must_use]
    pub fn leads_to(&self, path: &Path) -> Option<PathBuf> {
        owners::leads_to(&self.0.judge.root, path)
    }
}

/// Judges the lookups of one sandbox, until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// A server without listeners, for folders that nothing is mounted in.
    pub fn new(config: LookupConfig) -> Result<Self, StartError> {
        Self::with_unmasked(config, Vec::new())
    }

    /// A server without listeners, for folders with masks mounted in them.
    pub fn with_unmasked(config: LookupConfig, unmasked: Vec<Unmasked>) -> Result<Self, StartError> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::openat(&config.host_proc, c"self/fd", directory, Mode::empty())
            .map_err(StartError::HostProc)?;
        let view = View::read(config.host_proc.as_fd(), &config.live).map_err(StartError::Mounts)?;
        let followed = Judge::follow_literals(&*config.rules, &config.root, &own);
        let proc_device = rustix::fs::openat(&config.root, c"proc", directory, Mode::empty())
            .and_then(Stat::of)
            .ok()
            .map(|stat| stat.identity().device);
        let judge = Judge {
            rules: config.rules,
            view,
            root: config.root,
            own,
            live: config.live,
            unmasked,
            supervisor: config.supervisor,
            followed,
            several: Looked::by(scan::several_names),
            writable: Looked::by(scan::writable_links),
        };
        let shared = Shared {
            judge,
            host_proc: config.host_proc,
            proc_device,
            tree: std::sync::RwLock::default(),
            sockets: crate::calls::socket::Sockets::default(),
            owners: crate::owners::Owners::default(),
            executables: crate::owners::Executables::default(),
            private: config.private,
            blocked: config.blocked.into_iter().filter_map(|n| i32::try_from(n).ok()).collect(),
            sink: config.sink,
            throttle: crate::event::Throttle::default(),
            reporting: Beside::new("refusals", |shared| shared.throttle.watch(&*shared.sink)),
            starts: crate::calls::exec::Starts::default(),
            images: crate::images::Images::default(),
            waits: crate::waits::Waits::new().map_err(StartError::Event)?,
            watching: Beside::new("waits", |shared| shared.waits.watch(shared.host_proc.as_fd())),
            watching_starts: Beside::new("starts", |shared| shared.starts.watch(shared)),
        };
        // Many calls at once hold many descriptors. Where the limit stays low, callers see `EMFILE`.
        let _lower = chiton_sys::process::allow_descriptors(u64::MAX);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Starts the thread that stands beside the listeners. Before the first of those.
    pub fn begin(&self) -> Result<(), StartError> {
        self.shared.watching_starts.begin(&self.shared).map_err(StartError::Thread)
    }

    /// Serves a listener until every process of its filter is gone. Without a thread for it, it is dropped: the calls
    /// of its program do not exist then, which ends it. That is reported.
    pub fn add_listener(&self, listener: OwnedFd) -> Result<(), StartError> {
        // Kernels before 6.6 do without.
        let _slower = notify::wake_in_step(&listener);
        Pool::start(Arc::clone(&self.shared), listener).map_err(|e| {
            self.shared.sink.exec_unjudged();
            StartError::Thread(e)
        })
    }

    /// Says whose connections are, on any thread, as long as it is asked.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        Ownership(Arc::clone(&self.shared))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.starts.close();
        self.shared.waits.close();
        self.shared.throttle.close(&*self.shared.sink);
    }
}
