//! `open`, `openat`, `creat`, `openat2`.

use std::os::fd::{AsFd as _, OwnedFd};

use chiton_sys::{Errno, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::mounts;
use crate::{
    object::{Entry, Kind, Number, Object},
    request::{Reply, Request, refuse_set_id},
    resolve::{self, How, MOST_LINKS, Start},
    table::Shape,
};

/// What an open asks for.
#[derive(Clone, Copy)]
struct Want {
    flags: OFlags,
    mode: u32,
    limits: ResolveFlags,
}

const TMPFILE: OFlags = OFlags::TMPFILE;
/// The controlling terminal's own name.
const DEV_TTY: u64 = 5 << 8;
/// Every limit that `openat2` has.
const KNOWN_LIMITS: u64 = 0x3f;
/// How often a name may appear and go again under an open that makes it.
const MOST_TRIES: u32 = 32;

/// `open` and `openat`: unknown flags are ignored.
pub(crate) fn open(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = OFlags::from_bits_retain(request.bits(shape.rest)) & known();
    let mode = request.bits(shape.rest.saturating_add(1)) & 0o7777;
    opened(request, shape, Want { flags, mode, limits: ResolveFlags::empty() })
}

pub(crate) fn creat(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
    opened(
        request,
        shape,
        Want { flags, mode: request.bits(shape.rest) & 0o7777, limits: ResolveFlags::empty() },
    )
}

/// `openat2`: what is unknown is refused.
pub(crate) fn openat2(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    const SIZE: usize = 24;
    let size = usize::try_from(request.word(shape.rest.saturating_add(1))).map_err(|_| Errno::TOOBIG)?;
    if size < SIZE {
        return Err(Errno::INVAL);
    }
    if size > 4096 {
        return Err(Errno::TOOBIG);
    }
    let bytes = request.caller.read_vec(request.word(shape.rest), size)?;
    let (how, more) = bytes.split_at_checked(SIZE).ok_or(Errno::INVAL)?;
    if more.iter().any(|&b| b != 0) {
        return Err(Errno::TOOBIG);
    }
    let mut words = how.chunks_exact(8).map(|w| w.try_into().map_or(0, u64::from_ne_bytes));
    let (flags, mode, limits) =
        (words.next().unwrap_or(0), words.next().unwrap_or(0), words.next().unwrap_or(0));
    let flags = u32::try_from(flags).map_err(|_| Errno::INVAL)?;
    let flags = OFlags::from_bits_retain(flags);
    let limits = ResolveFlags::from_bits_retain(limits);
    let makes = flags.intersects(OFlags::CREATE | TMPFILE.difference(OFlags::DIRECTORY));
    let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let bad = !known().contains(flags)
        || mode & !0o7777 != 0
        || (mode != 0 && !makes)
        || limits.bits() & !KNOWN_LIMITS != 0
        || limits.contains(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT)
        || (flags.contains(OFlags::PATH) && !path_only.contains(flags));
    if bad {
        return Err(Errno::INVAL);
    }
    if limits.contains(ResolveFlags::CACHED) {
        return Err(Errno::AGAIN); // "Not in the cache": the caller tries again without.
    }
    opened(request, shape, Want { flags, mode: u32::try_from(mode).unwrap_or(0), limits })
}

fn known() -> OFlags {
    OFlags::from_bits_retain(
        (libc::O_ACCMODE
            | libc::O_CREAT
            | libc::O_EXCL
            | libc::O_NOCTTY
            | libc::O_TRUNC
            | libc::O_APPEND
            | libc::O_NONBLOCK
            | libc::O_SYNC
            | libc::O_ASYNC
            | libc::O_DIRECT
            | libc::O_DIRECTORY
            | libc::O_NOFOLLOW
            | libc::O_NOATIME
            | libc::O_CLOEXEC
            | libc::O_PATH
            | libc::O_TMPFILE
            | 0o100_000) // O_LARGEFILE
            .cast_unsigned(),
    )
}

fn opened(request: &Request<'_>, shape: &Shape, mut want: Want) -> Result<Reply> {
    if want.flags.contains(OFlags::PATH) {
        want.flags &= OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    }
    let unnamed = want.flags.intersects(TMPFILE.difference(OFlags::DIRECTORY));
    let makes = want.flags.contains(OFlags::CREATE);
    if unnamed || makes {
        refuse_set_id(want.mode)?;
    }
    if unnamed && (makes || !want.flags.contains(TMPFILE) || !writes(want.flags)) {
        return Err(Errno::INVAL);
    }
    if makes && want.flags.contains(OFlags::DIRECTORY) {
        return Err(Errno::INVAL);
    }
    let (start, text) = if want.limits.contains(ResolveFlags::IN_ROOT) {
        request.origin_in_root(shape.directory, shape.path)?
    } else {
        request.origin(shape.directory, shape.path)?
    };
    if makes {
        return opened_or_made(request, start, text, want);
    }
    let how = How { follow: !want.flags.contains(OFlags::NOFOLLOW), limits: want.limits };
    let object = resolve::find(request, &start, &text, how)?;
    if unnamed { make_unnamed(request, &object, want) } else { open_object(request, object, want) }
}

fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::ACCMODE)
}

/// An open with `O_CREAT`: what exists is opened as held; what does not is made with `O_EXCL`, so that what was
/// judged as missing is not found after all.
fn opened_or_made(request: &Request<'_>, start: Start, text: Vec<u8>, want: Want) -> Result<Reply> {
    if !want.limits.is_empty() {
        return made_within_limits(request, &start, &text, want);
    }
    let (mut start, mut text) = (start, text);
    let (mut links, mut tries) = (0, 0);
    loop {
        let entry = resolve::entry(request, &start, &text)?;
        let is_root = resolve::trim_slashes(&text).is_empty();
        if text.last() == Some(&b'/') && !is_root {
            return Err(Errno::ISDIR);
        }
        let exclusive = want.flags.contains(OFlags::EXCL);
        let Entry { parent, name, path, object, hidden } = entry;
        match object {
            Some(_) if exclusive => return Err(Errno::EXIST),
            Some(object) if object.kind() == Kind::Directory => return Err(Errno::ISDIR),
            Some(object) if object.kind() == Kind::Symlink && !want.flags.contains(OFlags::NOFOLLOW) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                if Some(object.stat.identity().device) == request.shared.proc_device {
                    let found = resolve::find(request, &start, &text, How::new(true))?;
                    return open_object(request, found, want);
                }
                text = rustix::fs::readlinkat(&object.fd, c"", Vec::new())?.into_bytes();
                start = if text.first() == Some(&b'/') {
                    Start::root()
                } else {
                    Start::at(request.shared, parent)?
                };
            }
            Some(object) => return open_object(request, object, want),
            None => match make(request, &Entry { parent, name, path, object: None, hidden }, want) {
                Err(Errno::EXIST) if !exclusive && tries < MOST_TRIES => tries += 1,
                Err(Errno::STALE) if tries < MOST_TRIES => tries += 1,
                other => return other,
            },
        }
    }
}

/// `openat2` with limits and `O_CREAT`: the directory by the limits, the name in it without a symlink.
fn made_within_limits(request: &Request<'_>, start: &Start, text: &[u8], want: Want) -> Result<Reply> {
    let how = How { follow: !want.flags.contains(OFlags::NOFOLLOW), limits: want.limits };
    match resolve::find(request, start, text, how) {
        Ok(_) if want.flags.contains(OFlags::EXCL) => return Err(Errno::EXIST),
        Ok(object) if object.kind() == Kind::Directory => return Err(Errno::ISDIR),
        Ok(object) => return open_object(request, object, want),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let (directory, name) = resolve::split(text);
    let directory = if directory.is_empty() { b".".as_slice() } else { directory };
    let parent = resolve::find(request, start, directory, How { follow: true, limits: want.limits })?;
    let entry = resolve::entry_in(request, parent.fd, name)?;
    if entry.object.is_some() { Err(Errno::LOOP) } else { make(request, &entry, want) }
}

fn make(request: &Request<'_>, entry: &Entry, want: Want) -> Result<Reply> {
    let _names = request.names_stay();
    // The directory may have moved until now; from here on it stays.
    let moved = request.path_of(&entry.parent)?.join(entry.path.file_name().unwrap_or_default());
    if moved != entry.path {
        return Err(Errno::STALE);
    }
    request.may_make(entry, Kind::File)?;
    request.take_umask()?;
    let flags =
        want.flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&entry.parent, &entry.name, flags, Mode::from_raw_mode(want.mode))?;
    Ok(hand_over(fd, want.flags))
}

/// `O_TMPFILE`: a file of no name in a directory, which `linkat` can give one, judged then.
fn make_unnamed(request: &Request<'_>, directory: &Object, want: Want) -> Result<Reply> {
    if directory.kind() != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    request.may_change(directory)?;
    request.take_umask()?;
    let flags = (want.flags | OFlags::CLOEXEC).difference(OFlags::NOFOLLOW);
    let number = Number::of(&directory.fd)?;
    let mode = Mode::from_raw_mode(want.mode);
    let fd = rustix::fs::openat(&request.shared.judge.own, number.as_c_str(), flags, mode)?;
    Ok(hand_over(fd, want.flags))
}

/// Opens an object that is held, as itself and under no name.
fn open_object(request: &Request<'_>, object: Object, want: Want) -> Result<Reply> {
    let flags = want.flags;
    let kind = object.kind();
    if flags.contains(OFlags::DIRECTORY) && kind != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    if kind == Kind::Symlink {
        return Err(Errno::LOOP);
    }
    if flags.contains(OFlags::PATH) {
        return Ok(hand_over(reopen(request, &object, stand_in(kind, flags)?)?, flags));
    }
    if (writes(flags) || flags.contains(OFlags::TRUNC)) && kind != Kind::Directory {
        request.may_change(&object)?;
    }
    if kind == Kind::Device && object.stat.device_node() == DEV_TTY {
        return open_terminal(request, flags);
    }
    let blocks =
        kind == Kind::Fifo && !flags.contains(OFlags::NONBLOCK) && (flags & OFlags::ACCMODE) != OFlags::RDWR;
    let fifo = object.stat.identity();
    if kind == Kind::Fifo {
        request.shared.waits.clear(fifo);
    }
    let fd = if blocks {
        match request.shared.waits.during(request, Some(fifo), || reopen(request, &object, flags))? {
            Some(fd) => fd,
            None => return Ok(Reply::Restart),
        }
    } else {
        reopen(request, &object, flags)?
    };
    if mounts::is_table(request, &object) {
        return Ok(hand_over(mounts::open_copy(request, &object, &fd, flags)?, flags));
    }
    Ok(hand_over(fd, flags))
}

/// No descriptor that only names an object can be handed over: the kernel takes none. A file or directory is
/// opened for reading instead, which serves for all that such a descriptor does; anything else would feel it.
fn stand_in(kind: Kind, flags: OFlags) -> Result<OFlags> {
    match kind {
        Kind::File | Kind::Directory => Ok(flags.difference(OFlags::PATH) | OFlags::RDONLY),
        Kind::Symlink => Err(Errno::LOOP),
        Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => Err(Errno::NXIO),
    }
}

fn reopen(request: &Request<'_>, object: &Object, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW);
    let number = Number::of(object.fd.as_fd())?;
    rustix::fs::openat(
        &request.shared.judge.own,
        number.as_c_str(),
        flags | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// `/dev/tty` is the caller's terminal, not ours: opened by its own name.
fn open_terminal(request: &Request<'_>, flags: OFlags) -> Result<Reply> {
    let number = request.caller.stat_field(7)?;
    request.confirm()?;
    let node = u64::try_from(number).ok().filter(|&n| n != 0).ok_or(Errno::NXIO)?;
    let (major, minor) = ((node >> 8) & 0xfff, (node & 0xff) | ((node >> 12) & 0xfff00));
    // Pseudoterminals have the majors from 136 on, 256 to each.
    let index = major.checked_sub(136).filter(|&n| n < 8).ok_or(Errno::NXIO)?.saturating_mul(256) + minor;
    let path = format!("/dev/pts/{index}");
    let object = resolve::find(request, &Start::root(), path.as_bytes(), How::new(true))?;
    if object.stat.device_node()
        != rustix::fs::makedev(u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0))
    {
        return Err(Errno::NXIO);
    }
    Ok(hand_over(reopen(request, &object, flags)?, flags))
}

fn hand_over(fd: OwnedFd, flags: OFlags) -> Reply {
    Reply::Descriptor {
        fd,
        close_on_exec: flags.contains(OFlags::CLOEXEC),
        writes: writes(flags) || flags.contains(OFlags::TRUNC),
    }
}
