//! Opening one folder: look it up, check it, clone its mounts, restrict them.

use std::{
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use chiton_sys::{
    Errno,
    mount::{MountAttrFlags, set_attributes},
    namespace::{self, IdMap, UnshareFlags},
    process::{self, Fork},
};
use rustix::{
    fs::{CWD, Mode, OFlags, fstat, open},
    mount::{OpenTreeFlags, open_tree},
    process::{WaitOptions, waitpid},
};

use crate::folders::{Access, Doing, Folder, FolderError, FolderRequest};

/// User namespaces that map a folder's owner to the agent, one for every owner.
#[derive(Debug)]
pub(crate) struct IdMappings {
    agent: Option<u32>,
    made: Vec<((u32, u32), OwnedFd)>,
}

impl IdMappings {
    /// Ids stay as they are.
    pub(crate) fn none() -> Self {
        Self { agent: None, made: Vec::new() }
    }

    /// Owners are mapped to this host id. Needs root's rights.
    pub(crate) fn to(agent: u32) -> Self {
        Self { agent: Some(agent), made: Vec::new() }
    }

    /// The namespace for a folder of this owner; none where ids stay.
    fn of(&mut self, owner: (u32, u32)) -> Result<Option<&OwnedFd>, Errno> {
        let Some(agent) = self.agent else { return Ok(None) };
        if !self.made.iter().any(|(made, _)| *made == owner) {
            let map = |inside| IdMap { inside, outside: agent };
            self.made.push((owner, map_namespace(map(owner.0), map(owner.1))?));
        }
        Ok(self.made.iter().find(|(made, _)| *made == owner).map(|(_, fd)| fd))
    }
}

/// Opens all, or fails with the first that cannot be.
pub(crate) fn open_all(request: &FolderRequest, maps: &mut IdMappings) -> Result<Vec<OwnedFd>, FolderError> {
    request.folders.iter().map(|folder| open_one(folder, &request.forbidden, maps)).collect()
}

fn open_one(folder: &Folder, forbidden: &[PathBuf], maps: &mut IdMappings) -> Result<OwnedFd, FolderError> {
    let path = &folder.host;
    let fail = |doing| move |e: Errno| failed(path, doing, e);
    let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(fail(Doing::Open))?;
    refuse_own(path, &found, forbidden)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(&found, c"", flags).map_err(fail(Doing::Clone))?;
    let owner = fstat(&found).map_err(fail(Doing::Map))?;
    let map = maps.of((owner.st_uid, owner.st_gid)).map_err(fail(Doing::Map))?;
    let mut set = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if folder.access == Access::ReadOnly {
        set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    set_attributes(&mount, set, true, map.map(AsFd::as_fd)).map_err(|e| match e {
        Errno::INVAL if map.is_some() => FolderError::NoIdMap(path.clone()),
        e => failed(path, Doing::Restrict, e),
    })?;
    Ok(mount)
}

/// By the descriptor's own name, so that no link hides where the path leads.
fn refuse_own(path: &Path, found: &OwnedFd, forbidden: &[PathBuf]) -> Result<(), FolderError> {
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(|e| failed(path, Doing::Open, crate::namespaces::errno(&e)))?;
    match forbidden.iter().find(|own| own.starts_with(&real) || real.starts_with(own)) {
        Some(own) => Err(FolderError::Own { path: path.to_owned(), own: own.clone() }),
        None => Ok(()),
    }
}

fn failed(path: &Path, doing: Doing, error: Errno) -> FolderError {
    if doing == Doing::Open && error == Errno::NOENT {
        return FolderError::Missing(path.to_owned());
    }
    FolderError::Failed { path: path.to_owned(), doing, errno: error.raw_os_error() }
}

/// A user namespace with this map, held by its descriptor alone: the process that made it has ended.
fn map_namespace(uid: IdMap, gid: IdMap) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (wait, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match process::fork()? {
        Fork::Child => {
            drop((ours, release));
            let made = namespace::unshare(UnshareFlags::NEWUSER).is_ok();
            let told = made && rustix::io::write(&theirs, b"1").is_ok();
            // Ends when the parent drops its end.
            let _ = rustix::io::read(&wait, &mut [0_u8; 1]);
            process::exit_now(u8::from(!told));
        }
        Fork::Parent(child) => {
            drop((theirs, wait));
            let namespace = adopt(child, &ours, uid, gid);
            drop(release);
            waitpid(Some(child), WaitOptions::empty())?;
            namespace
        }
    }
}

fn adopt(child: rustix::process::Pid, ready: &OwnedFd, uid: IdMap, gid: IdMap) -> Result<OwnedFd, Errno> {
    if rustix::io::read(ready, &mut [0_u8; 1])? == 0 {
        return Err(Errno::PERM);
    }
    namespace::write_id_maps(Some(child), uid, gid, false).map_err(|e| crate::namespaces::errno(&e))?;
    let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
