//! Who the container's processes are on the host: never its root.

use std::{fs, io};

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

    /// Whether a process has this user's rights and no others. Engines add the groups that an image's `/etc/group`
    /// gives to whom it likes. An ordinary gateway's own groups are no more than it has: some engines keep them.
    pub(crate) fn is_all_of(self, process: i32) -> io::Result<bool> {
        let kept = if geteuid().is_root() { Vec::new() } else { getgroups()? };
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Ok(self.is_all_in(&status, &kept.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>()))
    }

    fn is_all_in(self, status: &str, kept: &[u32]) -> bool {
        let ids = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|id| id.parse().ok()).collect()
        };
        let all =
            |name: &str, good: &dyn Fn(u32) -> bool| ids(name).is_some_and(|ids| ids.into_iter().all(good));
        all("Uid:", &|uid| uid == self.uid)
            && all("Gid:", &|gid| gid == self.gid)
            && all("Groups:", &|gid| gid == self.gid || kept.contains(&gid))
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
    fn a_group_of_an_image_is_a_right_too_many() {
        let user = User { uid: 7, gid: 8 };
        let status =
            |groups: &str| format!("Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t{groups} \n");
        assert!(user.is_all_in(&status(""), &[]));
        assert!(user.is_all_in(&status("8"), &[]));
        assert!(!user.is_all_in(&status("0"), &[]));
        assert!(!user.is_all_in(&status("8 999"), &[10]));
        assert!(user.is_all_in(&status("8 10"), &[10]));
        assert!(!user.is_all_in("Uid:\t7\t7\t0\t7\nGid:\t8\t8\t8\t8\nGroups:\t\n", &[]));
        assert!(!user.is_all_in("", &[]));
    }

    #[test]
    fn roots_group_is_root_too() {
        let workspace = Workspace::at(std::path::Path::new("/")).unwrap().0;
        for (uid, gid) in [(0, 0), (0, 5), (5, 0)] {
            assert!(User { uid, gid }.unless_root(&workspace).is_err());
        }
        assert!(User { uid: 5, gid: 5 }.unless_root(&workspace).is_ok());
    }
}
