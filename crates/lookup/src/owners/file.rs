//! What an executable's path is worth: whether the agent could have put something else there.

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use chiton_sys::Result;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags,
};
use sha2::{Digest as _, Sha256};

use crate::{
    calls::interpreter::HEAD,
    judge::path_of,
    object::{Identity, Kind, Stat},
    shared::Shared,
};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// An executable as a process has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The name by which it was started, symlinks resolved.
    pub(super) path: PathBuf,
    /// Which file.
    pub(super) identity: Identity,
    /// When it was last changed.
    pub(super) changed: (i64, u32),
}

impl Seen {
    pub(super) fn of(own: &OwnedFd, file: &OwnedFd) -> Result<Self> {
        let stat = Stat::of(file)?;
        Ok(Self { path: path_of(own, file)?, identity: stat.identity(), changed: changed(file)? })
    }
}

fn changed(file: impl AsFd) -> Result<(i64, u32)> {
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::CTIME)?;
    Ok((found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec))
}

/// What is known of executables.
#[derive(Default)]
pub(crate) struct Executables {
    /// What each held when it was first asked about, by SHA-256: one that holds something else since then was
    /// written in its place.
    pins: Mutex<HashMap<Identity, Pin>>,
}

struct Pin {
    changed: (i64, u32),
    digest: [u8; 32],
}

impl Executables {
    fn holds(&self, seen: &Seen, file: File) -> bool {
        let known = |pins: &HashMap<Identity, Pin>| pins.get(&seen.identity).map(|pin| pin.changed);
        if known(&self.pins.lock().unwrap_or_else(PoisonError::into_inner)) == Some(seen.changed) {
            return true;
        }
        let Ok(digest) = digest(file) else { return false };
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let pin = pins.entry(seen.identity).or_insert(Pin { changed: seen.changed, digest });
        let same = pin.digest == digest;
        if same {
            pin.changed = seen.changed;
        }
        same
    }
}

fn digest(mut file: File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(got) => hasher.update(buffer.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an executable's path says what runs: the file is still there by that name, on a mount that is only read,
/// has no name that could be written, and holds what it held before.
pub(super) fn judge(shared: &Shared, seen: &Seen) -> bool {
    let judge = &shared.judge;
    let same = |file: &OwnedFd| {
        Ok::<_, chiton_sys::Errno>(
            Stat::of(file)?.identity() == seen.identity && changed(file)? == seen.changed,
        )
    };
    let Ok(file) = open(&judge.root, &seen.path, OFlags::RDONLY) else { return false };
    if same(&file) != Ok(true) || !is_read_only(&file) {
        return false;
    }
    // The same folder, bound at another place.
    let writable = |name: &PathBuf| match open(&judge.root, name, OFlags::PATH) {
        Ok(other) => !is_read_only(&other),
        Err(_) => false,
    };
    if judge.other_names(&seen.path).iter().any(writable) {
        return false;
    }
    let Ok(stat) = Stat::of(&file) else { return false };
    let writable = || judge.writable.get(judge).is_none_or(|known| known.contains(&seen.identity));
    if stat.links() > 1 && writable() {
        return false;
    }
    shared.executables.holds(seen, File::from(file))
}

/// The same for a file by its path, as it is now: its beginning, where the path says what it is.
pub(super) fn fixed_at(shared: &Shared, path: &Path) -> Option<Vec<u8>> {
    let file = open(&shared.judge.root, path, OFlags::RDONLY).ok()?;
    let seen = Seen::of(&shared.judge.own, &file).ok()?;
    let mut head = vec![0; HEAD];
    let got = rustix::io::read(&file, head.as_mut_slice()).ok()?;
    head.truncate(got);
    (seen.path == path && judge(shared, &seen)).then_some(head)
}

fn open(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let below = path.strip_prefix("/").map_err(|_| chiton_sys::Errno::NOENT)?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, below, flags | OFlags::CLOEXEC, Mode::empty(), how)
}

fn is_read_only(file: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_mounted_folder(file: &OwnedFd) -> bool {
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    found.is_ok_and(|found| {
        found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
            && FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory
    })
}

/// The file that a path leads to; none where the agent could lead it elsewhere: the file, every symlink and every folder
/// on the way is on a mount that is only read. A folder that something is mounted on may be written, for it cannot be
/// moved itself.
pub(crate) fn leads_to(root: &OwnedFd, path: &Path) -> Option<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut left: VecDeque<OsString> = path.strip_prefix("/").ok()?.iter().map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let fd = open(root, &next, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        if !is_read_only(&fd) && !is_mounted_folder(&fd) {
            return None;
        }
        match Stat::of(&fd).ok()?.kind() {
            Kind::Symlink => {
                links += 1;
                let target = rustix::fs::readlinkat(&fd, c"", Vec::with_capacity(256)).ok()?;
                let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
                follow(&mut at, &mut left, &target);
            }
            Kind::Directory => at = next,
            Kind::File if left.is_empty() => return Some(next),
            Kind::File | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => return None,
        }
        if links > MOST_LINKS {
            return None;
        }
    }
    None
}

/// Puts a symlink's target before what is left of a path.
fn follow(at: &mut PathBuf, left: &mut VecDeque<OsString>, target: &Path) {
    for component in target.components().rev() {
        match component {
            Component::Normal(name) => left.push_front(name.to_owned()),
            Component::ParentDir => left.push_front("..".into()),
            Component::RootDir => *at = PathBuf::from("/"),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
