//! The mount tables in `/proc`, without the masks: a mask's mount point is the name of what does not exist.

use std::os::{
    fd::{AsFd as _, OwnedFd},
    unix::ffi::OsStrExt as _,
};

use chiton_sys::{Errno, Result};
use rustix::fs::{MemfdFlags, Mode, OFlags};

use crate::{
    object::{Number, Object},
    read_all,
    request::Request,
    rules::Standing,
    view::unescape,
};

/// Which word of a line is the mount point.
fn point_at(object: &Object) -> Option<usize> {
    match object.path.file_name()?.as_bytes() {
        b"mountinfo" | b"mountstats" => Some(4),
        b"mounts" => Some(1),
        _ => None,
    }
}

/// Whether an object is a mount table.
pub(super) fn is_table(request: &Request<'_>, object: &Object) -> bool {
    Some(object.stat.identity().device) == request.shared.proc_device && point_at(object).is_some()
}

/// A copy of a mount table as it is now, from which nothing but reading is possible.
pub(super) fn open_copy(
    request: &Request<'_>,
    object: &Object,
    table: &OwnedFd,
    flags: OFlags,
) -> Result<OwnedFd> {
    let at = point_at(object).ok_or(Errno::INVAL)?;
    let judge = &request.shared.judge;
    let shown = |line: &&[u8]| {
        let point = line.split(|&b| b == b' ').nth(at).map(unescape);
        point.is_none_or(|point| judge.name(&point) != Standing::Denied)
    };
    let text = read_all(table)?;
    let kept: Vec<u8> = text.split_inclusive(|&b| b == b'\n').filter(shown).flatten().copied().collect();
    let memory = rustix::fs::memfd_create(c"mounts", MemfdFlags::CLOEXEC)?;
    let mut rest = kept.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o444))?;
    let number = Number::of(memory.as_fd())?;
    let flags = (flags & OFlags::NONBLOCK) | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&judge.own, number.as_c_str(), flags, Mode::empty())
}
