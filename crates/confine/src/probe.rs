//! What this host can do.
//!
//! [`HostFacts`] are asked of the kernel in two calls, for every start. [`HostProbe`] is `chiton doctor`: each layer
//! is tried in a child process, and what is missing comes with the command that mends it.

mod checks;
mod child;
mod facts;

use serde::Serialize;

pub use crate::probe::facts::{HostFacts, KernelVersion};

/// Every layer, tried.
#[derive(Clone, Debug, Serialize)]
pub struct HostProbe {
    /// The cheap part.
    pub facts: HostFacts,
    /// One for each layer.
    pub checks: Vec<Check>,
}

/// One layer of the probe.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Which layer.
    pub layer: Layer,
    /// Whether it works here.
    pub works: bool,
    /// Whether a sandbox can start without it.
    pub required: bool,
    /// One line: what was found.
    pub found: String,
    /// The command that mends it, where one does.
    pub mend: Option<String>,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The machine and its kernel.
    Kernel,
    /// User, mount, network and the other namespaces.
    Namespaces,
    /// The own `/proc` and the pivot.
    View,
    /// Redirection by nftables over netlink.
    Capture,
    /// Landlock.
    Landlock,
    /// Seccomp with user notification and handed-over descriptors.
    Seccomp,
    /// Id-mapped mounts (root only).
    IdMappedMounts,
    /// Limits by control groups.
    ControlGroups,
}

/// Tries every layer, each in a process of its own. Takes some milliseconds.
#[must_use]
pub fn probe() -> HostProbe {
    let facts = HostFacts::read();
    HostProbe { checks: checks::all(&facts), facts }
}

impl HostProbe {
    /// Whether a sandbox can be started.
    #[must_use]
    pub fn can_start(&self) -> bool {
        self.checks.iter().all(|check| check.works || !check.required)
    }
}
