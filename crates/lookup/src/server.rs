//! Takes notifications from any number of listeners and answers each, on a few threads to a listener.
//!
//! In: listeners, at any time. A listener's workers grow with the calls that are held up and shrink again; they
//! end when every process that the filter was on is gone.

use std::{
    cell::Cell,
    collections::HashSet,
    os::fd::{AsFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use chiton_sys::{
    Errno, memory,
    notify::{self, Answer},
};
use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
};

use crate::{
    caller::Caller,
    event::Sink,
    judge::{Judge, Unmasked},
    object::Stat,
    owners::{self, Ends, Owner},
    request::{Reply, Request},
    rules::Rules,
    scan::{self, Looked},
    shared::{Beside, STACK, Shared},
    table,
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

/// Workers that a listener starts with.
const FIRST_WORKERS: usize = 2;
/// Workers that stay when there is nothing to do: as many as programs of many threads keep busy at once, or a
/// worker would be made and ended for every call of theirs.
const IDLE_WORKERS: usize = 16;
/// Workers of one listener, at most. As many may block as [`crate::waits`] allows, and others still serve.
const MOST_WORKERS: usize = 48;
const X86_64: u32 = 0xc000_003e;

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
        raise_descriptor_limit();
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
        let pool = Arc::new(Pool {
            shared: Arc::clone(&self.shared),
            listener: Arc::new(listener),
            filters: OnceLock::new(),
            idle: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
        });
        if let Err(e) = pool.spawn() {
            self.shared.sink.exec_unjudged();
            return Err(StartError::Thread(e));
        }
        for _ in 1..FIRST_WORKERS {
            // The first makes others when it needs them.
            let _slower = pool.spawn();
        }
        Ok(())
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

/// A listener and its workers.
struct Pool {
    shared: Arc<Shared>,
    listener: Arc<OwnedFd>,
    /// How many filters a program here has that set itself none. The first call is still our own, which starts the
    /// agent's program.
    filters: OnceLock<Option<u32>>,
    idle: AtomicUsize,
    total: AtomicUsize,
}

impl Pool {
    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
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
        notify::receive(&self.listener)
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

/// Many calls at once hold many descriptors. Where the limit stays low, callers see `EMFILE`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _lower = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
