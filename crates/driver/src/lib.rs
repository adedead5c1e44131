//! The one contract between the gateway and whatever runs sandboxes.
//!
//! A driver knows its platform and nothing of policy; the policy engine does not know which driver runs.
//! The order of a sandbox's life is `create_sandbox`, `inject_filesystem_policy`, `attach_network_proxy`,
//! `start`: a driver refuses `start` before the other three were acknowledged.

#[cfg(feature = "conformance")]
pub mod conformance;
mod gpu;
mod resources;
mod types;

use std::time::Duration;

use async_trait::async_trait;
pub use chiton_api::control::{EnforcementReport, Exit, FilesystemPolicy, Launch, LimitsHit, ProxyConfig};
pub use chiton_api::http::{LayerCheck, PullStep};
use tokio::sync::mpsc;

pub use crate::{
    gpu::Gpu,
    resources::Resources,
    types::{Capabilities, DriverError, DriverName, Link, SandboxHandle, SandboxId, SandboxSpec},
};

/// A driver's answers.
pub type Result<T> = std::result::Result<T, DriverError>;

/// Launches sandboxes on one platform.
#[async_trait]
pub trait ComputeDriver: Send + Sync {
    /// Which driver it is, as in `--driver`.
    fn name(&self) -> DriverName;

    /// Which promises it keeps on this machine.
    fn capabilities(&self) -> Capabilities;

    /// A sandbox is about to be made: whatever needs nothing of it may begin. In a tokio runtime; must not block, and
    /// nothing is owed to one that is not made after all.
    fn expect_sandbox(&self) {}

    /// Whether its sandboxes have an image's files, which every start asks.
    fn has_images(&self) -> bool {
        self.capabilities().images
    }

    /// Whether this machine can hold a sandbox to all of these. Changes nothing; `create_sandbox` refuses what this refuses.
    ///
    /// # Errors
    /// `Unsupported`, which names each field that is not kept here, why, and what mends it.
    fn check_resources(&self, resources: &Resources) -> Result<()>;

    /// Makes the sandbox's namespaces and its captured network. No agent runs yet.
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxHandle>;

    /// Ends everything that belongs to the sandbox and removes every trace. May be repeated.
    async fn destroy_sandbox(&self, handle: &SandboxHandle) -> Result<()>;

    /// Starts (or, after one died, replaces) the sandbox's proxy and waits until it enforces.
    async fn attach_network_proxy(&self, handle: &SandboxHandle, proxy_config: ProxyConfig) -> Result<()>;

    /// Builds the view of the filesystem and waits until the supervisor acknowledged it.
    async fn inject_filesystem_policy(&self, handle: &SandboxHandle, policy: FilesystemPolicy) -> Result<()>;

    /// Starts a program inside: the main one, or one of `exec`. The link is its session where `attach` is set.
    async fn start(&self, handle: &SandboxHandle, launch: &Launch) -> Result<Link>;

    /// A further session of the main program.
    async fn attach(&self, handle: &SandboxHandle) -> Result<Link>;

    /// Waits until the main program has ended. What limits it ran into is part of the answer, also where one of them
    /// killed the supervisor.
    async fn wait(&self, handle: &SandboxHandle) -> Result<Exit>;

    /// SIGTERM to the main program, then SIGKILL to everything after the grace.
    async fn stop(&self, handle: &SandboxHandle, grace: Duration) -> Result<Exit>;

    /// Sends the main program a signal.
    async fn signal(&self, handle: &SandboxHandle, signal: i32) -> Result<()>;

    /// Which limits it has run into so far. `wall_time` need not be told before the end.
    async fn limits_hit(&self, handle: &SandboxHandle) -> Result<LimitsHit>;

    /// What is enforced, as the supervisor reported it, and what the driver does besides.
    async fn report(&self, handle: &SandboxHandle) -> Result<EnforcementReport>;

    /// A fresh control link to the sandbox's proxy (messages of `chiton_api::control`).
    async fn proxy_link(&self, handle: &SandboxHandle) -> Result<Link>;

    /// Tries each layer where its sandboxes run, and says what mends what is missing.
    ///
    /// # Errors
    /// Where nothing could be tried; what is merely missing is in the answer.
    async fn examine(&self) -> Result<Vec<LayerCheck>>;

    /// Brings an image where it is not on this machine, and tells how far it is.
    ///
    /// # Errors
    /// Where the driver has no images, or the image cannot be had.
    async fn pull(&self, image: &str, told: mpsc::Sender<PullStep>) -> Result<()>;

    /// Every sandbox of this driver that still runs here, for adoption after a restart.
    async fn list(&self) -> Result<Vec<SandboxHandle>>;
}
