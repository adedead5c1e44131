//! `unlink`, `rmdir`, `unlinkat`.

use chiton_sys::{Errno, Result};
use rustix::fs::AtFlags;

use crate::{
    event::Wanted,
    object::{Entry, Kind},
    request::{Reply, Request, known_flags},
    rules::Standing,
    table::Shape,
};

pub(crate) fn remove(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = request.at_flags(shape);
    known_flags(flags, libc::AT_REMOVEDIR)?;
    let _names = request.names_stay();
    let entry = request.entry(shape.directory, shape.path)?;
    let is_directory = entry.object.as_ref().is_some_and(|object| object.kind() == Kind::Directory);
    if is_directory && flags == 0 {
        return Err(Errno::ISDIR);
    }
    may_go(request, &entry)?;
    rustix::fs::unlinkat(&entry.parent, &entry.name, AtFlags::from_bits_retain(flags))?;
    Ok(Reply::Value(0))
}

/// Whether what has a name may lose it.
pub(crate) fn may_go(request: &Request<'_>, entry: &Entry) -> Result<()> {
    if entry.is_dots() {
        return Ok(()); // The kernel refuses each of these itself.
    }
    if entry.hidden || request.shared.judge.name(&entry.path) == Standing::Denied {
        request.refuse(&entry.path, Wanted::Lookup);
        return Err(Errno::NOENT);
    }
    let Some(object) = &entry.object else { return Ok(()) };
    request.may_change(object)?;
    if object.kind() == Kind::Directory && request.shared.judge.holds_literal(&object.path) {
        request.refuse(&object.path, Wanted::Change);
        return Err(Errno::BUSY);
    }
    Ok(())
}
