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
    fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    mount::{OpenTreeFlags, open_tree},
    process::{WaitOptions, waitpid},
};

use crate::{
    folders::{Access, Doing, Folder, FolderError, FolderRequest},
    plan::WORKSPACE,
};

/// What is never shared: of these a sandbox has its own.
const KERNELS: &[&str] = &["/proc", "/sys", "/dev"];

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

    /// Owners are mapped to this host id. Needs root's rights. The map for folders of root's, which are the most, is made
    /// at once, while nobody waits for it.
    pub(crate) fn beginning(agent: u32) -> Self {
        let mut maps = Self { agent: Some(agent), made: Vec::new() };
        // Where it cannot be made, that is said when it is needed.
        let _ = maps.of((0, 0));
        maps
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
    request.folders.iter().map(|folder| open_one(folder, request, maps)).collect()
}

fn open_one(folder: &Folder, request: &FolderRequest, maps: &mut IdMappings) -> Result<OwnedFd, FolderError> {
    let path = &folder.host;
    let fail = |doing| move |e: Errno| failed(path, doing, e);
    let found = look_up(folder, &request.folders)?;
    refuse_own(path, &found, &request.forbidden)?;
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

/// Finds a folder. Below another one no link is followed: an agent of an earlier start could have put it there, and
/// would be given what it leads to. In the workspace's own path none is either, whose folder above another agent may
/// have: the gateway names it without any.
fn look_up(folder: &Folder, folders: &[Folder]) -> Result<OwnedFd, FolderError> {
    let path = &folder.host;
    let fail = |e| failed(path, Doing::Open, e);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if folder.inside == Path::new(WORKSPACE) {
        return openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|e| match e {
            Errno::LOOP => FolderError::Moved(path.clone()),
            e => fail(e),
        });
    }
    let above = folders.iter().map(|folder| &folder.host).filter(|above| path.starts_with(above));
    let Some(above) = above.min_by_key(|above| above.components().count()).filter(|above| *above != path)
    else {
        return open(path, flags, Mode::empty()).map_err(fail);
    };
    let base = open(above, flags, Mode::empty()).map_err(fail)?;
    let below = path.strip_prefix(above).unwrap_or(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(base, below, flags, Mode::empty(), resolve).map_err(|e| match e {
        Errno::LOOP => FolderError::Link(path.clone()),
        e => fail(e),
    })
}

/// By the descriptor's own name, so that no link hides where the path leads.
fn refuse_own(path: &Path, found: &OwnedFd, forbidden: &[PathBuf]) -> Result<(), FolderError> {
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(|e| failed(path, Doing::Open, crate::namespaces::errno(&e)))?;
    match forbidden.iter().find(|own| own.starts_with(&real) || real.starts_with(own)) {
        Some(own) => Err(FolderError::Own { path: path.to_owned(), own: own.clone() }),
        // The gateway refuses these by name; in an image only here is seen where a link leads.
        None if KERNELS.iter().any(|kernels| real.starts_with(kernels)) => {
            Err(FolderError::Kernels(path.to_owned()))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_followed_below_another_folder() {
        let dir = std::env::temp_dir().join(format!("chiton-look-up-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("work/real")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("work/planted")).unwrap();
        std::os::unix::fs::symlink("work", dir.join("mine")).unwrap();
        let folder = |host: &str| Folder {
            host: dir.join(host),
            inside: Path::new("/given").join(host),
            access: Access::ReadWrite,
        };
        let folders = [folder("work"), folder("work/real"), folder("work/planted"), folder("mine")];
        let found: Vec<_> = folders.iter().map(|f| look_up(f, &folders)).collect();
        let behind = look_up(&folder("work/planted/ssl"), &folders);
        let workspace = |host| look_up(&Folder { inside: WORKSPACE.into(), ..folder(host) }, &[]);
        let (named, moved) = (workspace("work/real"), workspace("mine/real"));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(found.as_slice(), [Ok(_), Ok(_), Err(FolderError::Link(_)), Ok(_)]), "{found:?}");
        assert!(matches!(behind, Err(FolderError::Link(_))), "{behind:?}");
        assert!(named.is_ok() && matches!(moved, Err(FolderError::Moved(_))), "{named:?} {moved:?}");
    }

    #[test]
    fn what_leads_to_the_kernels_own_is_refused() {
        let link = std::env::temp_dir().join(format!("chiton-kernels-{}", std::process::id()));
        let opened = |target: &str| {
            std::os::unix::fs::symlink(target, &link).unwrap();
            let folder = Folder { host: link.clone(), inside: "/given".into(), access: Access::ReadOnly };
            let found = look_up(&folder, &[]).unwrap();
            let refused = refuse_own(&link, &found, &[]);
            std::fs::remove_file(&link).unwrap();
            refused
        };
        assert!(matches!(opened("/proc"), Err(FolderError::Kernels(_))));
        assert!(matches!(opened("/sys/kernel"), Err(FolderError::Kernels(_))));
        assert!(opened("/usr").is_ok());
    }
}
