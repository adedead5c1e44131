//! What a driver of this host's kernel adds to what all of them share.

use std::{
    fmt,
    fs::File,
    os::{fd::AsFd as _, fd::BorrowedFd, unix::net::UnixListener},
};

use async_trait::async_trait;
use chiton_api::control::{FilesystemPolicy, Identity, Launch, LayerReport, ProxyConfig};
use chiton_driver::{
    Capabilities, DriverError, DriverName, LayerCheck, LimitsHit, PullStep, Resources, Result, SandboxId,
    SandboxSpec,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::mpsc};

use crate::{Folder, Whom, supervisor};

/// How one platform starts supervisors, and ends everything.
#[async_trait]
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// What is written down about a sandbox besides its spec and its proxy: by it another gateway finds and ends
    /// what runs.
    type Place: fmt::Debug + Clone + Serialize + DeserializeOwned + Send + Sync;

    /// Which driver it is.
    fn name(&self) -> DriverName;

    /// Which promises it keeps on this machine.
    fn capabilities(&self) -> Capabilities;

    /// See [`ComputeDriver::has_images`](chiton_driver::ComputeDriver::has_images).
    fn has_images(&self) -> bool {
        self.capabilities().images
    }

    /// See [`ComputeDriver::check_resources`](chiton_driver::ComputeDriver::check_resources).
    ///
    /// # Errors
    /// What is not kept here, by name.
    fn check_resources(&self, resources: &Resources) -> Result<()>;

    /// The place of a sandbox that is not started yet, while the places of all others cannot change. Whatever can be
    /// refused is refused here.
    ///
    /// # Errors
    /// What this platform does not do, by name.
    async fn place(&self, spec: &SandboxSpec, others: &[Self::Place]) -> Result<Self::Place>;

    /// See [`ComputeDriver::expect_sandbox`](chiton_driver::ComputeDriver::expect_sandbox).
    fn expect_sandbox(&self) {}

    /// Starts the supervisor with what it is given, and says where it is as soon as there is something to end.
    ///
    /// # Errors
    /// What could not be started, and why. What was started is in the place.
    async fn start(&self, starting: Starting<'_, Self::Place>) -> Result<()>;

    /// Who the agent is.
    fn identity(&self, place: &Self::Place) -> Identity;

    /// The static half as the supervisor there sees it: paths of the host become paths of its place.
    ///
    /// # Errors
    /// What names a path that does not exist there.
    fn seen_from(&self, _place: &Self::Place, policy: FilesystemPolicy) -> Result<FilesystemPolicy> {
        Ok(policy)
    }

    /// The main program as it is started there.
    fn launched(&self, _place: &Self::Place, launch: &Launch) -> Launch {
        launch.clone()
    }

    /// What else is known once the view stands, and what is to be done before a program starts.
    ///
    /// # Errors
    /// What could not be done: nothing starts then.
    fn viewed(&self, _place: &mut Self::Place) -> Result<()> {
        Ok(())
    }

    /// What it enforces itself, for the report.
    fn layer(&self, _place: &Self::Place) -> Option<LayerReport> {
        None
    }

    /// What keeps `static.resources`, for the report: `control groups of version 2`, an engine.
    fn keeper(&self, _place: &Self::Place) -> String {
        self.name().to_string()
    }

    /// What a sandbox ran into, also after [`Platform::end`] and until [`Platform::forget`].
    async fn limits_hit(&self, _place: &Self::Place) -> LimitsHit {
        LimitsHit::default()
    }

    /// A connection to the supervisor or proxy of a sandbox that has no socket for it here.
    ///
    /// # Errors
    /// `NotRunning` where it is over; `Halted` where that is not known.
    async fn reach(&self, _place: &Self::Place, id: &SandboxId, _whom: Whom) -> Result<UnixStream> {
        Err(DriverError::NotRunning(id.clone()))
    }

    /// Whether supervisor and proxy are where no descriptor comes from: then they are reached, and a proxy attached, by
    /// [`Platform::reach`] and [`Platform::attach_proxy`].
    fn is_apart(&self, _place: &Self::Place) -> bool {
        false
    }

    /// Has a proxy that is beside the supervisor enforce.
    ///
    /// # Errors
    /// It does not.
    async fn attach_proxy(&self, _place: &Self::Place, _config: ProxyConfig) -> Result<()> {
        Err(DriverError::Unsupported(format!("the driver `{}` keeps its proxies here", self.name())))
    }

    /// Has what the sandbox's processes wrote so far in the files of its spec, where they do not write there
    /// themselves.
    async fn written(&self, _place: &Self::Place) {}

    /// See [`ComputeDriver::examine`](chiton_driver::ComputeDriver::examine).
    ///
    /// # Errors
    /// Where nothing could be tried.
    async fn examine(&self) -> Result<Vec<LayerCheck>>;

    /// See [`ComputeDriver::pull`](chiton_driver::ComputeDriver::pull).
    ///
    /// # Errors
    /// Where it has no images, or the image cannot be had.
    async fn pull(&self, image: &str, _told: &mpsc::Sender<PullStep>) -> Result<()> {
        Err(DriverError::Unsupported(format!("`{image}`: the driver `{}` has no images", self.name())))
    }

    /// Why a sandbox stands still that does not answer, and what lets it go on; none where that is not known.
    async fn halted(&self, _place: &Self::Place) -> Option<String> {
        None
    }

    /// Whether a sandbox that is apart is over, a connection to which ended: who runs it says so.
    async fn is_over(&self, _place: &Self::Place) -> bool {
        true
    }

    /// Waits until the first process inside has ended by itself, for a moment at most.
    async fn settled(&self, place: &Self::Place);

    /// Ends the supervisor and everything inside. May be repeated.
    ///
    /// # Errors
    /// What could not be ended.
    async fn end(&self, place: &Self::Place) -> Result<()>;

    /// Removes what is left once all has ended: what counted. May be repeated.
    ///
    /// # Errors
    /// What could not be removed.
    async fn forget(&self, _place: &Self::Place) -> Result<()> {
        Ok(())
    }
}

/// What a supervisor is started with.
pub struct Starting<'a, Place> {
    /// The sandbox's folder in the runtime directory.
    pub folder: &'a Folder,
    /// What it is made from.
    pub(crate) spec: &'a SandboxSpec,
    /// Where it is; to be kept with [`Starting::keep`] after each change.
    pub place: Place,
    /// Writes the place down.
    pub(crate) write: &'a (dyn Fn(&Place) -> Result<()> + Sync),
}

impl<Place: fmt::Debug> fmt::Debug for Starting<'_, Place> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starting")
            .field("folder", self.folder)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<Place> Starting<'_, Place> {
    /// Opens where its connections arrive, its log, its events and its exit, which it is handed
    /// ([`chiton_api::descriptors`]).
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn papers(&self) -> Result<Papers> {
        let SandboxSpec { log, supervisor_events, exit, .. } = self.spec;
        supervisor::papers(self.folder, [log, supervisor_events, exit])
    }

    /// Writes the place down as it is now.
    ///
    /// # Errors
    /// Where it cannot be written: what was started must then be ended by who started it.
    pub fn keep(&self) -> Result<()> {
        (self.write)(&self.place)
    }
}

/// What the supervisor holds of the host.
#[derive(Debug)]
pub struct Papers {
    pub(crate) listener: UnixListener,
    pub(crate) log: File,
    pub(crate) events: File,
    pub(crate) exit: File,
}

impl Papers {
    /// In the order in which they are handed over.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        [self.listener.as_fd(), self.log.as_fd(), self.events.as_fd(), self.exit.as_fd()]
    }
}
