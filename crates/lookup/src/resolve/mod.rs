//! From a path to the object that it names, held and judged.
//!
//! In: where the walk starts, and the path's bytes as the caller had them. Out: an [`Object`] that is not
//! denied, or an [`Entry`]: a name in a held directory. The kernel walks in one step where no symlink is on the
//! way; otherwise [`walk`] goes component by component.

mod proc;
mod walk;

use std::{
    ffi::{CStr, CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use chiton_sys::{Errno, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};

pub(crate) use proc::{look, own_link};

use crate::{
    judge::path_of,
    object::{Entry, Kind, Object, Stat},
    request::Request,
    rules::Standing,
    shared::Shared,
};

/// As many symlinks as the kernel follows.
pub(crate) const MOST_LINKS: u32 = 40;

/// Where a relative path starts.
pub(crate) struct Start {
    /// None: the view's root.
    fd: Option<OwnedFd>,
    path: PathBuf,
}

impl Start {
    pub(crate) fn root() -> Self {
        Self { fd: None, path: PathBuf::from("/") }
    }

    /// A directory of the caller's. It has to be in the view.
    pub(crate) fn at(shared: &Shared, fd: OwnedFd) -> Result<Self> {
        let path = path_of(&shared.judge.own, &fd)?;
        if path.has_root() {
            shared.judge.view.check_inside(shared.host_proc.as_fd(), &fd)?;
        }
        Ok(Self { fd: Some(fd), path })
    }

    pub(crate) fn fd<'a>(&'a self, shared: &'a Shared) -> BorrowedFd<'a> {
        self.fd.as_ref().unwrap_or(&shared.judge.root).as_fd()
    }

    fn copy(&self, shared: &Shared) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(self.fd(shared), c".", flags, Mode::empty())
    }
}

/// How to walk.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Whether a symlink at the end is followed.
    pub(crate) follow: bool,
    /// The caller's own limits (`openat2`).
    pub(crate) limits: ResolveFlags,
}

impl How {
    pub(crate) fn new(follow: bool) -> Self {
        Self { follow, limits: ResolveFlags::empty() }
    }
}

/// The object that a path names.
pub(crate) fn find(request: &Request<'_>, start: &Start, text: &[u8], how: How) -> Result<Object> {
    if text.is_empty() {
        return Err(Errno::NOENT);
    }
    if !how.limits.is_empty() {
        return walk::walk(request, start, text, how);
    }
    let path = lexical(request, &start.path, text)?;
    let name = judged_name(request, &path)?;
    let opened = hold(start.fd(request.shared), &terminated(text)?, plain());
    let fd = match opened {
        Err(Errno::LOOP) => return walk::walk(request, start, text, how),
        other => other?,
    };
    let stat = Stat::of(&fd)?;
    if how.follow && stat.kind() == Kind::Symlink {
        return walk::walk(request, start, text, how);
    }
    // A directory may have been moved while the kernel was in it, and then its `..` was not where we thought.
    let (path, name) = if goes_up(text) {
        let path = path_of(&request.shared.judge.own, &fd)?;
        let name = judged_name(request, &path)?;
        (path, name)
    } else {
        (path, name)
    };
    let standing = request.shared.judge.object(&path, &stat, name);
    request.may_find(&path, standing)?;
    Ok(Object { fd, stat, path, standing })
}

fn goes_up(text: &[u8]) -> bool {
    text.split(|&b| b == b'/').any(|part| part == b"..")
}

/// The name at a path's end, in its directory. A symlink there is not followed.
pub(crate) fn entry(request: &Request<'_>, start: &Start, text: &[u8]) -> Result<Entry> {
    let (directory, name) = split(text);
    let parent = if directory.is_empty() {
        start.copy(request.shared)?
    } else {
        let found = find(request, start, directory, How::new(true))?;
        if found.kind() != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        found.fd
    };
    entry_in(request, parent, name)
}

/// A name, as the caller wrote it, in a held directory.
pub(crate) fn entry_in(request: &Request<'_>, parent: OwnedFd, name: &[u8]) -> Result<Entry> {
    let mut path = path_of(&request.shared.judge.own, &parent)?;
    let bare = trim_slashes(name);
    match bare {
        b"" | b"." => {}
        b".." => {
            path.pop();
        }
        _ => path.push(OsStr::from_bytes(bare)),
    }
    request.shared.judge.guard_supervisor(&path)?;
    let name = terminated(name)?;
    let bare = terminated(if bare.is_empty() { b"." } else { bare })?;
    let held = match hold(parent.as_fd(), &bare, plain()) {
        Ok(fd) => Some(judged(request, fd, &path)?),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(e),
    };
    let hidden = held.as_ref().is_some_and(|object| object.standing == Standing::Denied);
    Ok(Entry { parent, name, path, object: held.filter(|_| !hidden), hidden })
}

fn judged(request: &Request<'_>, fd: OwnedFd, path: &Path) -> Result<Object> {
    let stat = Stat::of(&fd)?;
    let judge = &request.shared.judge;
    let standing = judge.object(path, &stat, judge.name(path));
    Ok(Object { fd, stat, path: path.to_path_buf(), standing })
}

/// What has an entry's name now.
pub(crate) fn hold_name(entry: &Entry) -> Result<OwnedFd> {
    hold(entry.parent.as_fd(), &entry.name, plain())
}

/// How a name stands that is about to be looked up; an error where it must not be.
fn judged_name(request: &Request<'_>, path: &Path) -> Result<Standing> {
    request.shared.judge.guard_supervisor(path)?;
    let standing = request.shared.judge.name(path);
    request.may_find(path, standing)?;
    Ok(standing)
}

/// Holds what a path names, whatever it is, without opening it.
fn hold(directory: BorrowedFd<'_>, path: &CStr, resolve: ResolveFlags) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve))
}

fn plain() -> ResolveFlags {
    ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// The path that a walk without symlinks comes to. What is left by `..` is judged on the way.
fn lexical(request: &Request<'_>, start: &Path, text: &[u8]) -> Result<PathBuf> {
    let mut path = if text.first() == Some(&b'/') { PathBuf::from("/") } else { start.to_path_buf() };
    for part in text.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                judged_name(request, &path)?;
                path.pop();
            }
            name => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(path)
}

/// Everything before the last component, and the last component with the slashes behind it.
pub(crate) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let bare = trim_slashes(text);
    if bare.is_empty() {
        // Only slashes: the root, which has no other name.
        return (b"/", b"/");
    }
    let at = bare.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash.saturating_add(1));
    text.split_at_checked(at).unwrap_or((b"", text))
}

pub(crate) fn trim_slashes(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != b'/').map_or(0, |last| last.saturating_add(1));
    text.get(..end).unwrap_or_default()
}

pub(crate) fn terminated(text: &[u8]) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_last_component() {
        assert_eq!(split(b"a/b/c"), (&b"a/b/"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        assert_eq!(split(b"/c//"), (&b"/"[..], &b"c//"[..]));
        assert_eq!(split(b"//"), (&b"/"[..], &b"/"[..]));
        assert_eq!(split(b"a/.."), (&b"a/"[..], &b".."[..]));
    }
}
