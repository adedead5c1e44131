//! Mode, owner, length.

use std::os::fd::AsFd as _;

use chiton_sys::{Errno, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use crate::{
    object::{Kind, Number, Object},
    request::{Reply, Request, known_flags, refuse_set_id},
    table::Shape,
};

pub(crate) fn chmod(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    known_flags(request.at_flags(shape), libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let object = request.object(shape)?;
    change_mode(request, &object, request.bits(shape.rest))
}

pub(crate) fn fchmod(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.descriptor_object(0)?;
    change_mode(request, &object, request.bits(shape.rest))
}

fn change_mode(request: &Request<'_>, object: &Object, mode: u32) -> Result<Reply> {
    let mode = mode & 0o7777;
    let set_id = libc::S_ISUID | libc::S_ISGID;
    // A directory keeps the bits it has: they run nothing, and what lists a mode writes it back whole.
    let kept = object.kind() == Kind::Directory && mode & set_id & !object.stat.mode() == 0;
    if !kept {
        refuse_set_id(mode)?;
    }
    request.may_change(object)?;
    if object.kind() == Kind::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    let number = Number::of(&object.fd)?;
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::chmodat(&request.shared.judge.own, number.as_c_str(), mode, AtFlags::empty()) {
        // What no filesystem shows cannot be reached by a name.
        Err(Errno::NOENT) => rustix::fs::fchmod(&object.fd, mode)?,
        other => other?,
    }
    Ok(Reply::Value(0))
}

pub(crate) fn chown(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    known_flags(request.at_flags(shape), libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let object = request.object(shape)?;
    change_owner(request, &object, shape)
}

pub(crate) fn fchown(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.descriptor_object(0)?;
    change_owner(request, &object, shape)
}

fn change_owner(request: &Request<'_>, object: &Object, shape: &Shape) -> Result<Reply> {
    const SAME: u32 = u32::MAX;
    request.may_change(object)?;
    let (owner, group) = (request.bits(shape.rest), request.bits(shape.rest.saturating_add(1)));
    let owner = (owner != SAME).then(|| Uid::from_raw(owner));
    let group = (group != SAME).then(|| Gid::from_raw(group));
    let number = Number::of(&object.fd)?;
    rustix::fs::chownat(&request.shared.judge.own, number.as_c_str(), owner, group, AtFlags::empty())?;
    Ok(Reply::Value(0))
}

pub(crate) fn truncate(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let length = request.word(shape.rest).cast_signed();
    let length = u64::try_from(length).map_err(|_| Errno::INVAL)?;
    let object = request.object(shape)?;
    match object.kind() {
        Kind::File => {}
        Kind::Directory => return Err(Errno::ISDIR),
        Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => return Err(Errno::INVAL),
    }
    request.may_change(&object)?;
    let number = Number::of(object.fd.as_fd())?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&request.shared.judge.own, number.as_c_str(), flags, Mode::empty())?;
    rustix::fs::ftruncate(fd, length)?;
    Ok(Reply::Value(0))
}
