//! Who the container's processes are on the host: never its root.

use std::io;

use chiton_driver::{DriverError, Result};
use rustix::process::{getegid, geteuid, getgroups};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// A uid and a gid of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Never 0.
    pub(crate) uid: u32,
    /// Its group: 0 only for a gateway of an ordinary user in that group.
    pub(crate) gid: u32,
}

impl User {
    /// The gateway's own, where that is an ordinary user.
    pub(crate) fn own() -> Option<Self> {
        let (uid, gid) = (geteuid(), getegid());
        (!uid.is_root()).then(|| Self { uid: uid.as_raw(), gid: gid.as_raw() })
    }

    /// The gateway's own; where that is root, the workspace's owner, whose files the agent changes.
    pub(crate) fn for_workspace(workspace: &Workspace, owner: Self) -> Result<Self> {
        match Self::own() {
            Some(own) => Ok(own),
            None => owner.unless_root(workspace),
        }
    }

    fn unless_root(self, workspace: &Workspace) -> Result<Self> {
        let whose = match (self.uid, self.gid) {
            (0, _) => "root",
            (_, 0) => "root's group",
            _ => return Ok(self),
        };
        Err(DriverError::Unsupported(format!(
            "the workspace `{}` belongs to {whose}, and a container's agent never runs as the host's root: give the \
             folder to an ordinary user and group (chown USER:GROUP), or take --driver native, which maps its owner",
            workspace.path.display()
        )))
    }

    /// Groups that a process of this user may have besides: an ordinary gateway's own are no more than it has, and some
    /// engines keep them.
    pub(crate) fn further_groups() -> io::Result<Vec<u32>> {
        let own = if geteuid().is_root() { Vec::new() } else { getgroups()? };
        Ok(own.iter().map(|gid| gid.as_raw()).collect())
    }
}

impl std::fmt::Display for User {
    /// As engines take it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_group_is_root_too() {
        let workspace = Workspace::at(std::path::Path::new("/")).unwrap().0;
        for (uid, gid) in [(0, 0), (0, 5), (5, 0)] {
            assert!(User { uid, gid }.unless_root(&workspace).is_err());
        }
        assert!(User { uid: 5, gid: 5 }.unless_root(&workspace).is_ok());
    }
}
