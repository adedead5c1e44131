//! What only looks: `stat` and its kin, `access`, `readlink`, `statfs`.

use chiton_sys::{Errno, Result};
use rustix::fs::{Access, AtFlags};

use crate::{
    object::{Kind, Number},
    request::{Reply, Request, known_flags},
    resolve,
    table::{Flags, Shape},
};

pub(crate) fn stat(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    known_flags(request.at_flags(shape), known)?;
    let stat = chiton_sys::path::stat(request.shown(shape)?)?;
    request.write(request.word(shape.rest), &stat)?;
    Ok(Reply::Value(0))
}

pub(crate) fn statx(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    const SYNC: i32 = 0x6000;
    let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH | SYNC;
    let flags = request.at_flags(shape);
    known_flags(flags, known)?;
    let fd = request.shown(shape)?;
    let result = chiton_sys::path::statx(&fd, flags & SYNC.unsigned_abs(), request.bits(shape.rest))?;
    request.write(request.word(shape.rest.saturating_add(1)), &result)?;
    Ok(Reply::Value(0))
}

pub(crate) fn statfs(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.object(shape)?;
    request.write(request.word(shape.rest), &chiton_sys::path::statfs(&object.fd)?)?;
    Ok(Reply::Value(0))
}

pub(crate) fn access(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = request.at_flags(shape);
    known_flags(flags, libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let mode = request.bits(shape.rest);
    let asked = Access::from_bits(mode).ok_or(Errno::INVAL)?;
    let object = request.object(shape)?;
    let number = Number::of(&object.fd)?;
    // The third argument alone cannot say EACCESS: without it the real ids count, which here are the same.
    let how = if matches!(shape.flags, Flags::Argument(_)) {
        AtFlags::from_bits_retain(flags & libc::AT_EACCESS.unsigned_abs())
    } else {
        AtFlags::empty()
    };
    rustix::fs::accessat(&request.shared.judge.own, number.as_c_str(), asked, how)?;
    if asked.contains(Access::WRITE_OK) {
        request.may_change(&object)?;
    }
    Ok(Reply::Value(0))
}

pub(crate) fn readlink(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let size = usize::try_from(request.int(shape.rest.saturating_add(1))).map_err(|_| Errno::INVAL)?;
    if size == 0 {
        return Err(Errno::INVAL);
    }
    // `readlinkat` takes an empty path for the descriptor itself, without being asked to.
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    let by_descriptor = matches!(shape.directory, crate::table::From::Argument(_));
    let flags = if by_descriptor { flags } else { libc::AT_SYMLINK_NOFOLLOW };
    let shape = Shape { flags: Flags::Fixed(flags.unsigned_abs()), ..*shape };
    if request.word(shape.path) == 0 {
        return Err(Errno::FAULT);
    }
    let object = request.object(&shape)?;
    if object.kind() != Kind::Symlink {
        let empty = by_descriptor && request.text(shape.path)?.is_empty();
        return Err(if empty { Errno::NOENT } else { Errno::INVAL });
    }
    let text = match resolve::own_link(request, &object.path, &object.stat)? {
        Some(text) => text,
        None => {
            let read = || rustix::fs::readlinkat(&object.fd, c"", Vec::with_capacity(256));
            resolve::look(request, &object.path, read)?.into_bytes()
        }
    };
    let shown = text.get(..size.min(text.len())).unwrap_or_default();
    request.write(request.word(shape.rest), shown)?;
    Ok(Reply::Value(i64::try_from(shown.len()).unwrap_or(0)))
}
