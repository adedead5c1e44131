//! Covering what a denied glob matches at the start.
//!
//! The second layer: the lookup judges every name, also later. So this walk is bounded, does not follow links and
//! stays silent about what it could not read.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use chiton_sys::Errno;
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};

use crate::view::{
    Source, ViewError,
    assemble::covering,
    tree::{Tree, step},
};

/// How many entries are looked at, and how deep.
const MOST_ENTRIES: usize = 2000;
const DEEPEST: usize = 5;

/// Covers what matches below `folder`, which is inside.
pub(super) fn cover(tree: &Tree, pattern: &str, folder: &Path) -> Result<(), ViewError> {
    let pattern: Vec<&[u8]> = pattern.split('/').filter(|s| !s.is_empty()).map(str::as_bytes).collect();
    let mut left = MOST_ENTRIES;
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let Ok(entries) = list(tree, &folder) else { continue };
        for (name, kind) in entries {
            let Some(fewer) = left.checked_sub(1) else { return Ok(()) };
            left = fewer;
            let path = folder.join(OsStr::from_bytes(&name));
            if matches(&pattern, &segments(&path)) {
                tree.cover(&path, |tree, found| covering(tree, found, &Source::Nothing))
                    .map_err(step("covering", &path))?;
            } else if kind == FileType::Directory && depth < DEEPEST {
                waiting.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

fn list(tree: &Tree, folder: &Path) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = openat(tree.find_plain(folder)?, ".", flags, Mode::empty())?;
    let entries = Dir::read_from(opened)?.filter_map(Result::ok);
    let plain = entries.filter(|e| !matches!(e.file_name().to_bytes(), b"." | b".."));
    Ok(plain.map(|e| (e.file_name().to_bytes().to_vec(), e.file_type())).collect())
}

fn segments(path: &Path) -> Vec<&[u8]> {
    path.components()
        .filter_map(|c| match c {
            std::path::Component::Normal(name) => Some(name.as_bytes()),
            std::path::Component::Prefix(_)
            | std::path::Component::RootDir
            | std::path::Component::CurDir
            | std::path::Component::ParentDir => None,
        })
        .collect()
}

/// Segment by segment: `**` is any number of them, `*` inside one is any run of bytes.
fn matches(pattern: &[&[u8]], path: &[&[u8]]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if *first == b"**" => {
            (0..=path.len()).any(|skip| matches(rest, path.get(skip..).unwrap_or_default()))
        }
        Some((first, rest)) => {
            path.split_first().is_some_and(|(name, below)| segment(first, name) && matches(rest, below))
        }
    }
}

fn segment(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => {
            (0..=name.len()).any(|skip| segment(rest, name.get(skip..).unwrap_or_default()))
        }
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(first, below)| first == byte && segment(rest, below))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, path: &str) -> bool {
        let pattern: Vec<&[u8]> = pattern.split('/').filter(|s| !s.is_empty()).map(str::as_bytes).collect();
        matches(&pattern, &segments(Path::new(path)))
    }

    #[test]
    fn globs_match_by_segment() {
        assert!(hit("**/.env", "/workspace/.env"));
        assert!(hit("**/.env", "/workspace/a/b/.env"));
        assert!(!hit("**/.env", "/workspace/a/.env.local"));
        assert!(hit("**/.env*", "/workspace/a/.env.local"));
        assert!(hit("/workspace/*.pem", "/workspace/key.pem"));
        assert!(!hit("/workspace/*.pem", "/workspace/a/key.pem"));
        assert!(hit("/workspace/**/secret", "/workspace/secret"));
    }
}
