//! Who the container's processes are on the host: never its root.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use chiton_driver::{DriverError, Result};
use serde::{Deserialize, Serialize};

/// A uid and a gid of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Never 0.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
}

impl User {
    /// The gateway's own, where that is an ordinary user.
    pub(crate) fn own() -> Option<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        (!uid.is_root()).then(|| Self { uid: uid.as_raw(), gid: gid.as_raw() })
    }

    /// The gateway's own; where that is root, the workspace's owner, whose files the agent changes.
    pub(crate) fn for_workspace(workspace: &Path) -> Result<Self> {
        if let Some(own) = Self::own() {
            return Ok(own);
        }
        let found = fs::metadata(workspace)
            .map_err(|source: io::Error| DriverError::Io { doing: "cannot look at the workspace", source })?;
        if found.uid() == 0 {
            return Err(DriverError::Unsupported(format!(
                "the workspace `{}` belongs to root, and a container's agent never runs as the host's root: give the \
                 folder to an ordinary user (chown), or take --driver native, which maps its owner",
                workspace.display()
            )));
        }
        Ok(Self { uid: found.uid(), gid: found.gid() })
    }
}

impl std::fmt::Display for User {
    /// As engines take it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}
