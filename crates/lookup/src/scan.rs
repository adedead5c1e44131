//! Objects that have several names, of which one is denied or protected.
//!
//! A hard link made before the start has a harmless name and shares the object. The live folders are looked
//! through once, when the first object with several names is met there; from then on the agent can make no
//! such link, for every call that could is judged.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Dir, FileType, OFlags};

use crate::{
    judge::Judge,
    object::{Identity, Kind, Stat},
    rules::Standing,
};

/// The standing of every object with several names in the live folders that has a worse one than open.
pub(crate) fn several_names(judge: &Judge) -> HashMap<Identity, Standing> {
    let mut found = HashMap::new();
    if !judge.rules.has_patterns() && judge.rules.literals().is_empty() {
        return found;
    }
    for folder in &judge.live {
        walk(judge, folder.clone(), &mut |path| note(judge, path, &mut found));
    }
    found
}

/// Every file with several names in the live folders of which one can be written.
pub(crate) fn writable_links(judge: &Judge) -> HashSet<Identity> {
    let mut found = HashSet::new();
    for folder in &judge.live {
        walk(judge, folder.clone(), &mut |path| {
            if let Ok(stat) = stat(judge, path)
                && stat.kind() == Kind::File
                && stat.links() > 1
                && judge.name(path) == Standing::Open
            {
                found.insert(stat.identity());
            }
        });
    }
    found
}

fn note(judge: &Judge, path: &Path, found: &mut HashMap<Identity, Standing>) {
    let standing = judge.name(path);
    if standing < Standing::Protected {
        return;
    }
    let Ok(stat) = stat(judge, path) else { return };
    if stat.links() > 1 && stat.kind() != Kind::Directory {
        let entry = found.entry(stat.identity()).or_insert(standing);
        *entry = (*entry).max(standing);
    }
}

fn stat(judge: &Judge, path: &Path) -> chiton_sys::Result<Stat> {
    Stat::of(judge.beneath_masks(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?)
}

/// Calls `each` with every path below a folder, without following symlinks. What cannot be read is passed over:
/// the agent, who is the same user, cannot read it either.
fn walk(judge: &Judge, folder: PathBuf, each: &mut dyn FnMut(&Path)) {
    let mut left = vec![folder];
    while let Some(folder) = left.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(fd) = judge.beneath_masks(&folder, flags) else { continue };
        let Ok(entries) = Dir::new(fd) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = folder.join(OsStr::from_bytes(name));
            each(&path);
            match entry.file_type() {
                FileType::Directory => left.push(path),
                FileType::Unknown => left.push(path),
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice => {}
            }
        }
    }
}

/// Whether moving a directory would change how something below it stands.
pub(crate) fn moves_standing(judge: &Judge, from: &Path, to: &Path) -> bool {
    let matters = |path: &Path| judge.holds_literal(path) || judge.rules.place_matters_below(path);
    if !matters(from) && !matters(to) {
        return false;
    }
    let mut changes = false;
    walk(judge, from.to_path_buf(), &mut |path| {
        if let Ok(below) = path.strip_prefix(from) {
            changes |= crosses(judge.name(path), judge.name(&to.join(below)));
        }
    });
    changes
}

/// Whether one of two standings forbids what the other allows.
fn crosses(before: Standing, after: Standing) -> bool {
    before != after && before.max(after) >= Standing::Protected
}
