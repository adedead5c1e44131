//! Objects that have several names, of which one is denied or protected.
//!
//! A hard link made before the start has a harmless name and shares the object. The live folders are looked
//! through once, when the first object with several names is met there; from then on the agent can make no
//! such link, for every call that could is judged.
//!
//! What always holds: a look that was kept saw everything that the agent can get at. No directory moves out of its
//! way meanwhile; a folder that the agent can make readable later ends it, and it begins anew.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use chiton_sys::{Errno, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::{
    barred::{Barred, barred},
    judge::Judge,
    object::{Identity, Kind, Stat},
    rules::Standing,
};

/// The folder that ended a look: the agent can read it later.
pub(crate) struct Unread(PathBuf);

/// What a look through the live folders finds, once all of them could be read.
pub(crate) struct Looked<T> {
    look: fn(&Judge) -> std::result::Result<T, Unread>,
    found: OnceLock<T>,
    /// Held during a look. What ended the last one.
    unread: Mutex<Option<Unread>>,
}

impl<T> Looked<T> {
    /// By this look, when it is first asked for.
    pub(crate) fn by(look: fn(&Judge) -> std::result::Result<T, Unread>) -> Self {
        Self { look, found: OnceLock::new(), unread: Mutex::default() }
    }

    /// What was found. None: not everything can be seen as yet.
    pub(crate) fn get(&self, judge: &Judge) -> Option<&T> {
        if let Some(found) = self.found.get() {
            return Some(found);
        }
        let mut unread = self.begin();
        let is_gone = |error| matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
        let is_closed = |Unread(folder): &Unread| open(judge, folder).is_err_and(|error| !is_gone(error));
        // Somebody found it meanwhile, or nothing has changed since the last look.
        if self.found.get().is_some() || unread.as_ref().is_some_and(is_closed) {
            return self.found.get();
        }
        match (self.look)(judge) {
            Ok(found) => Some(self.found.get_or_init(|| found)),
            Err(folder) => {
                *unread = Some(folder);
                None
            }
        }
    }

    /// What was found, where somebody looked already.
    pub(crate) fn seen(&self) -> Option<&T> {
        self.found.get()
    }

    /// While this is held nobody looks.
    pub(crate) fn begin(&self) -> MutexGuard<'_, Option<Unread>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The standing of every object with several names in the live folders that has a worse one than open.
pub(crate) fn several_names(judge: &Judge) -> std::result::Result<HashMap<Identity, Standing>, Unread> {
    let mut found = HashMap::new();
    if !judge.rules.has_patterns() && judge.rules.literals().is_empty() {
        return Ok(found);
    }
    for folder in &judge.live {
        walk(judge, folder, REACHED, &mut |path| note(judge, path, &mut found))?;
    }
    Ok(found)
}

/// Every file with several names in the live folders of which one can be written.
pub(crate) fn writable_links(judge: &Judge) -> std::result::Result<HashSet<Identity>, Unread> {
    let mut found = HashSet::new();
    for folder in &judge.live {
        walk(judge, folder, REACHED, &mut |path| {
            if let Some(stat) = stat(judge, path)?
                && stat.kind() == Kind::File
                && stat.links() > 1
                && judge.name(path) == Standing::Open
            {
                found.insert(stat.identity());
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn note(judge: &Judge, path: &Path, found: &mut HashMap<Identity, Standing>) -> Result<()> {
    let standing = judge.name(path);
    if standing < Standing::Protected {
        return Ok(());
    }
    if let Some(stat) = stat(judge, path)?
        && stat.links() > 1
        && stat.kind() != Kind::Directory
    {
        let entry = found.entry(stat.identity()).or_insert(standing);
        *entry = (*entry).max(standing);
    }
    Ok(())
}

/// None: it is gone.
fn stat(judge: &Judge, path: &Path) -> Result<Option<Stat>> {
    match judge.beneath_masks(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC).and_then(Stat::of) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A folder, to be listed, and what is in it to be looked up.
fn open(judge: &Judge, folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = judge.beneath_masks(folder, flags)?;
    rustix::fs::openat(&fd, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fd)
}

/// What a look for objects passes over: names that another user's folder does not tell would end it for good.
const REACHED: &[Barred] = &[Barred::ByAnother, Barred::Unlisted];
/// What a look at one directory passes over.
const CLOSED: &[Barred] = &[Barred::ByAnother];

/// Calls `each` with every path below a folder, without following symlinks. A folder that cannot be read ends it,
/// unless it is closed in one of these ways.
fn walk(
    judge: &Judge,
    folder: &Path,
    passed: &[Barred],
    each: &mut dyn FnMut(&Path) -> Result<()>,
) -> std::result::Result<(), Unread> {
    let mut left = vec![folder.to_path_buf()];
    while let Some(folder) = left.pop() {
        match look_into(judge, &folder, &mut left, each) {
            // It is gone, or no directory any more.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(Errno::ACCESS) if passed.contains(&barred(judge, &folder)) => {}
            Err(_) => return Err(Unread(folder)),
        }
    }
    Ok(())
}

fn look_into(
    judge: &Judge,
    folder: &Path,
    left: &mut Vec<PathBuf>,
    each: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    for entry in Dir::new(open(judge, folder)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let path = folder.join(OsStr::from_bytes(name));
        each(&path)?;
        match entry.file_type() {
            FileType::Directory | FileType::Unknown => left.push(path),
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {}
        }
    }
    Ok(())
}

/// Whether moving a directory would change how something below it stands, or may: what cannot be read now can be
/// read at the new place.
pub(crate) fn moves_standing(judge: &Judge, from: &Path, to: &Path) -> bool {
    let matters = |path: &Path| judge.holds_literal(path) || judge.rules.place_matters_below(path);
    if !matters(from) && !matters(to) {
        return false;
    }
    let mut changes = false;
    let walked = walk(judge, from, CLOSED, &mut |path| {
        if let Ok(below) = path.strip_prefix(from) {
            changes |= crosses(judge.name(path), judge.name(&to.join(below)));
        }
        Ok(())
    });
    changes || walked.is_err()
}

/// Whether one of two standings forbids what the other allows.
fn crosses(before: Standing, after: Standing) -> bool {
    before != after && before.max(after) >= Standing::Protected
}
