//! What a supervisor is told to find of itself, where its driver cannot look: in a container of an engine on another
//! kernel. An engine works as root, and an image may ask it for more than was ordered.

use serde::{Deserialize, Serialize};

/// Who it is, which limits it has, and what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// Its only user.
    pub uid: u32,
    /// Its only group.
    pub gid: u32,
    /// How much memory it may take, in bytes.
    pub memory: Option<u64>,
    /// Whether its processor time is limited.
    pub cpus: bool,
    /// Where something may be mounted, beside what every engine mounts.
    pub mounts: Vec<String>,
}
