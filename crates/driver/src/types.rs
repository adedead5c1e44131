//! What goes into a driver and what comes out.

use std::{path::PathBuf, pin::Pin};

pub use chiton_api::name::{DriverName, SandboxId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{gpu::Gpu, resources::Resources};

/// What to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its identity.
    pub id: SandboxId,
    /// Its name: checked by the gateway to be a host name's label.
    pub name: String,
    /// The host folder that is `/workspace` inside, canonical.
    pub workspace: PathBuf,
    /// The image whose files are the sandbox's system; none for the host's own.
    #[serde(default)]
    pub image: Option<String>,
    /// Where the supervisor appends the main program's output (session frames, see `chiton_api::frame`).
    pub log: PathBuf,
    /// Where the supervisor appends its events, one JSON object a line.
    pub supervisor_events: PathBuf,
    /// Where the proxy appends its events, one JSON object a line.
    pub proxy_events: PathBuf,
    /// Where the supervisor writes the JSON of `Exit` when the main program has ended. The driver adds which limits were
    /// run into, and writes it where a limit ended the supervisor too.
    pub exit: PathBuf,
    /// How much of the machine it gets.
    #[serde(default)]
    pub resources: Resources,
    /// Which GPUs it gets.
    #[serde(default)]
    pub gpu: Gpu,
}

/// A sandbox of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SandboxHandle {
    /// Which driver made it.
    pub driver: DriverName,
    /// Which sandbox it is.
    pub id: SandboxId,
}

/// Which promises a driver keeps on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Denied paths in a live workspace, judged at the lookup.
    pub live_denied_paths: bool,
    /// Every connection is captured without a proxy variable.
    pub transparent_capture: bool,
    /// Every field of `static.resources`. Where this is not so, [`ComputeDriver::check_resources`](crate::ComputeDriver)
    /// says which are kept.
    pub resources: bool,
    /// `static.gpu`, where this machine has devices and what runs its sandboxes is new enough: `create_sandbox` says by
    /// name what is missing.
    pub gpu: bool,
    /// A sandbox's system is an image's, and one must be named.
    pub images: bool,
}

/// Why a driver could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The platform lacks something; the message says what and how to get it.
    #[error("{0}")]
    Unsupported(String),
    /// The supervisor or the proxy refused; the message is theirs.
    #[error(transparent)]
    Failed(#[from] chiton_api::control::Failure),
    /// There is no such sandbox (any more).
    #[error("sandbox `{0}` is not running")]
    NotRunning(SandboxId),
    /// It is there, and stands still; the message says why, and what lets it go on.
    #[error("{0}")]
    Halted(String),
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<chiton_api::name::NameError> for DriverError {
    fn from(error: chiton_api::name::NameError) -> Self {
        Self::Unsupported(error.to_string())
    }
}

/// A connection to a supervisor or a proxy.
pub type Link = Pin<Box<dyn Duplex>>;

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Duplex for T {}
