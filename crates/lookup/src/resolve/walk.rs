//! The walk by components, for paths with symlinks on the way.
//!
//! Always holds: where the walk stands is held by a descriptor; every name on the way was judged before it was
//! looked up; the end is judged again by the path that it has then, read back from the kernel.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
};

use chiton_sys::{Errno, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{How, MOST_LINKS, Start, hold, judged_name, plain, proc, terminated};
use crate::{
    judge::path_of,
    object::{Kind, Object, Stat},
    request::Request,
    rules::Standing,
};

struct Walk<'r> {
    request: &'r Request<'r>,
    how: How,
    fd: OwnedFd,
    path: PathBuf,
    /// How the path stands, where it was judged.
    standing: Option<Standing>,
    /// What is left to walk.
    rest: Vec<u8>,
    links: u32,
    /// Where a scoped walk began.
    scope: Option<(OwnedFd, Stat)>,
}

pub(super) fn walk(request: &Request<'_>, start: &Start, text: &[u8], how: How) -> Result<Object> {
    let scoped = how.limits.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
    let absolute = text.first() == Some(&b'/');
    if absolute && how.limits.contains(ResolveFlags::BENEATH) {
        return Err(Errno::XDEV);
    }
    let from_root = absolute && !scoped;
    let root = Start::root();
    let start = if from_root { &root } else { start };
    let fd = start.copy(request.shared)?;
    let scope = if scoped {
        let base = start.copy(request.shared)?;
        let stat = Stat::of(&base)?;
        Some((base, stat))
    } else {
        None
    };
    let path = start.path.clone();
    let mut walk = Walk { request, how, fd, path, standing: None, rest: text.to_vec(), links: 0, scope };
    walk.leap()?;
    while walk.step()? {}
    walk.finish()
}

/// A component and what is behind it.
struct Component {
    name: Vec<u8>,
    is_last: bool,
    slash_behind: bool,
}

impl Walk<'_> {
    fn next(&mut self) -> Option<Component> {
        let begin = self.rest.iter().position(|&b| b != b'/')?;
        let after = self.rest.split_off(begin);
        let end = after.iter().position(|&b| b == b'/').unwrap_or(after.len());
        let (name, behind) = after.split_at_checked(end)?;
        let component = Component {
            name: name.to_vec(),
            is_last: behind.iter().all(|&b| b == b'/'),
            slash_behind: !behind.is_empty(),
        };
        self.rest = behind.to_vec();
        Some(component)
    }

    /// One component. False: the end.
    fn step(&mut self) -> Result<bool> {
        let Some(component) = self.next() else { return Ok(false) };
        match component.name.as_slice() {
            b"." => self.must_be_directory()?,
            b".." => self.up()?,
            _ => return self.down(&component).map(|()| true),
        }
        Ok(true)
    }

    fn must_be_directory(&self) -> Result<()> {
        judged_name(self.request, &self.path)?;
        if Stat::of(&self.fd)?.kind() == Kind::Directory { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    fn up(&mut self) -> Result<()> {
        self.must_be_directory()?;
        if let Some((_, base)) = &self.scope
            && Stat::of(&self.fd)?.identity() == base.identity()
        {
            return if self.how.limits.contains(ResolveFlags::BENEATH) { Err(Errno::XDEV) } else { Ok(()) };
        }
        self.fd = hold(self.fd.as_fd(), c"..", self.crossing())?;
        self.path.pop();
        self.standing = None;
        Ok(())
    }

    fn crossing(&self) -> ResolveFlags {
        self.how.limits.intersection(ResolveFlags::NO_XDEV)
    }

    fn down(&mut self, component: &Component) -> Result<()> {
        let path = self.path.join(OsStr::from_bytes(&component.name));
        let standing = judged_name(self.request, &path)?;
        let fd = hold(self.fd.as_fd(), &terminated(&component.name)?, self.crossing())?;
        let stat = Stat::of(&fd)?;
        let follow = !component.is_last || component.slash_behind || self.how.follow;
        if stat.kind() == Kind::Symlink && follow {
            return self.follow(component, fd, path, &stat);
        }
        if component.slash_behind && stat.kind() != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        self.fd = fd;
        self.path = path;
        self.standing = Some(standing);
        Ok(())
    }

    fn follow(&mut self, component: &Component, fd: OwnedFd, path: PathBuf, stat: &Stat) -> Result<()> {
        self.links = self.links.saturating_add(1);
        if self.links > MOST_LINKS || self.how.limits.contains(ResolveFlags::NO_SYMLINKS) {
            return Err(Errno::LOOP);
        }
        let text = match proc::link(self.request, &path, stat)? {
            proc::Link::Own(text) => text,
            proc::Link::Plain => rustix::fs::readlinkat(&fd, c"", Vec::new())?.into_bytes(),
            proc::Link::Magic => return self.jump(component),
        };
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        if text.first() == Some(&b'/') {
            self.restart()?;
        }
        let behind = std::mem::replace(&mut self.rest, text);
        self.rest.extend_from_slice(&behind);
        self.leap()
    }

    /// An absolute link.
    fn restart(&mut self) -> Result<()> {
        let shared = self.request.shared;
        match &self.scope {
            Some(_) if self.how.limits.contains(ResolveFlags::BENEATH) => Err(Errno::XDEV),
            Some((base, _)) => {
                self.fd = rustix::io::fcntl_dupfd_cloexec(base, 0)?;
                self.path = path_of(&shared.judge.own, base)?;
                self.standing = None;
                Ok(())
            }
            None if self.how.limits.contains(ResolveFlags::NO_XDEV) => Err(Errno::XDEV),
            None => {
                self.fd = Start::root().copy(shared)?;
                self.path = PathBuf::from("/");
                self.standing = None;
                Ok(())
            }
        }
    }

    /// A link of `/proc` that leads to an object: the kernel follows it, by the caller's rights over the
    /// process, which are ours. The object must be of the view, or of no filesystem's.
    fn jump(&mut self, component: &Component) -> Result<()> {
        if self.scope.is_some() || self.how.limits.contains(ResolveFlags::NO_MAGICLINKS) {
            return Err(Errno::LOOP);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let name = terminated(&component.name)?;
        let link = self.path.join(OsStr::from_bytes(&component.name));
        let open = || rustix::fs::openat(&self.fd, name.as_c_str(), flags, Mode::empty());
        let fd = proc::look(self.request, &link, open)?;
        let shared = self.request.shared;
        let path = path_of(&shared.judge.own, &fd)?;
        let stat = Stat::of(&fd)?;
        if path.has_root() && stat.links() > 0 {
            shared.judge.view.check_inside(shared.host_proc.as_fd(), &fd)?;
        }
        if component.slash_behind && stat.kind() != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        self.request.may_find(&path, shared.judge.opened(&path, &stat))?;
        self.fd = fd;
        self.path = path;
        self.standing = None;
        Ok(())
    }

    /// Goes all the way to the last component in one call, where no symlink is on it.
    fn leap(&mut self) -> Result<()> {
        let (directory, _) = super::split(&self.rest);
        let parts: Vec<&[u8]> = directory.split(|&b| b == b'/').filter(|p| !p.is_empty()).collect();
        if parts.len() < 2 || parts.contains(&b"..".as_slice()) {
            return Ok(());
        }
        let mut relative = parts.join(&b'/');
        let path = self.path.join(OsStr::from_bytes(&relative));
        // With a slash at its end a symlink there is on the way too.
        relative.push(b'/');
        // The name behind it is judged next, and with it this path. What went wrong must not tell of a denied one.
        match hold(self.fd.as_fd(), &terminated(&relative)?, plain() | self.crossing()) {
            Ok(fd) => {
                self.fd = fd;
                self.path = path;
                self.standing = None;
                self.rest.drain(..directory.len());
                Ok(())
            }
            Err(Errno::LOOP) => Ok(()),
            Err(e) => judged_name(self.request, &path).and(Err(e)),
        }
    }

    fn finish(self) -> Result<Object> {
        let judge = &self.request.shared.judge;
        let stat = Stat::of(&self.fd)?;
        let path = path_of(&judge.own, &self.fd)?;
        if let Some((base, _)) = &self.scope
            && !path.starts_with(path_of(&judge.own, base)?)
        {
            return Err(Errno::XDEV);
        }
        judge.guard_supervisor(&path)?;
        let of_name = self.standing.filter(|_| path == self.path).unwrap_or_else(|| judge.name(&path));
        let standing = if path.has_root() { judge.object(&path, &stat, of_name) } else { Standing::Open };
        self.request.may_find(&path, standing)?;
        Ok(Object { fd: self.fd, stat, path, standing })
    }
}
