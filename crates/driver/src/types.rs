//! What goes into a driver and what comes out.

use std::{fmt, path::PathBuf, pin::Pin};

pub use chiton_api::name::DriverName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// A sandbox's identity: a ULID in lower case. Safe in a path, a label and a host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SandboxId {
    type Error = DriverError;

    fn try_from(text: String) -> Result<Self, DriverError> {
        let good = text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if good { Ok(Self(text)) } else { Err(DriverError::Unsupported("not a sandbox id".into())) }
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> String {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its identity.
    pub id: SandboxId,
    /// Its name: checked by the gateway to be a host name's label.
    pub name: String,
    /// The host folder that is `/workspace` inside, canonical.
    pub workspace: PathBuf,
    /// Where the supervisor appends the main program's output (session frames, see `chiton_api::frame`).
    pub log: PathBuf,
    /// Where the supervisor appends its events, one JSON object a line.
    pub supervisor_events: PathBuf,
    /// Where the proxy appends its events, one JSON object a line.
    pub proxy_events: PathBuf,
    /// Where the supervisor writes the JSON of `Exit` when the main program has ended.
    pub exit: PathBuf,
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
    /// `static.resources`.
    pub resources: bool,
    /// `static.gpu`.
    pub gpu: bool,
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
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A connection to a supervisor or a proxy.
pub type Link = Pin<Box<dyn Duplex>>;

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Duplex for T {}
