//! The user's folder: the one that was looked at is the one that is mounted. An engine gets a path and looks it up
//! again, as root, and an agent with the folder above may have put a link there in between.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use serde::{Deserialize, Serialize};

use crate::user::User;

/// A folder of this machine, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workspace {
    /// Its canonical path.
    pub(crate) path: PathBuf,
    device: u64,
    inode: u64,
}

impl Workspace {
    /// The folder at a canonical path, and who owns it. A link in the path is an error.
    pub(crate) fn at(path: &Path) -> io::Result<(Self, User)> {
        let found = fstat(look_up(CWD, path, ResolveFlags::NO_SYMLINKS)?)?;
        let owner = User { uid: found.st_uid, gid: found.st_gid };
        Ok((Self { path: path.to_owned(), device: found.st_dev, inode: found.st_ino }, owner))
    }

    /// Whether a process, seen from here, has this folder at `place`.
    pub(crate) fn is_seen_by(&self, process: i32, place: &str) -> io::Result<bool> {
        let root = open(format!("/proc/{process}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let found = fstat(look_up(root, Path::new(place), ResolveFlags::IN_ROOT)?)?;
        Ok((found.st_dev, found.st_ino) == (self.device, self.inode))
    }
}

fn look_up(from: impl std::os::fd::AsFd, path: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(from, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_took_anothers_name_is_another() {
        let base = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(base.path()).unwrap();
        let (work, other) = (base.join("work"), base.join("other"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&other).unwrap();
        let (found, _) = Workspace::at(&work).unwrap();
        let ours = i32::try_from(std::process::id()).unwrap();
        assert!(found.is_seen_by(ours, work.to_str().unwrap()).unwrap());
        std::fs::rename(&work, base.join("away")).unwrap();
        std::os::unix::fs::symlink(&other, &work).unwrap();
        assert!(!found.is_seen_by(ours, work.to_str().unwrap()).unwrap());
        assert!(Workspace::at(&work).is_err());
    }
}
