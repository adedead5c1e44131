//! `rename`, `renameat`, `renameat2`.
//!
//! Nothing denied or protected is moved or moved onto, no directory that holds such a literal is moved, and no
//! directory goes to where what is in it would stand otherwise.

use std::path::Path;

use chiton_sys::{Errno, Result};
use rustix::fs::RenameFlags;

use super::remove::may_go;
use crate::{
    event::Wanted,
    object::{Entry, Kind, Object, Stat},
    request::{Reply, Request},
    rules::Standing,
    scan,
    table::{Flags, Shape},
};

pub(crate) fn rename(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = match shape.flags {
        Flags::Fixed(flags) => flags,
        Flags::Argument(index) => request.bits(index),
    };
    // A whiteout would be a device.
    let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
    let flags = RenameFlags::from_bits(flags).filter(|f| known.contains(*f)).ok_or(Errno::INVAL)?;
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    let _names = request.names_move();
    let old = request.entry(shape.directory, shape.path)?;
    let new = request.entry(shape.second.0, shape.second.1)?;
    let crosses = Stat::of(&old.parent)?.identity().device != Stat::of(&new.parent)?.identity().device;
    leave(request, &old, crosses)?;
    if exchange {
        leave(request, &new, crosses)?;
        arrive(request, &old, kind_of(&new), crosses)?;
        arrive(request, &new, kind_of(&old), crosses)?;
    } else {
        arrive(request, &new, kind_of(&old), crosses)?;
    }
    if crosses {
        return Err(Errno::XDEV);
    }
    move_below(request, &old, &new.path)?;
    if exchange {
        move_below(request, &new, &old.path)?;
    }
    let judge = &request.shared.judge;
    // No directory moves out of the way of who looks through the folders, and none of several names.
    let matters = |entry: &Entry| {
        let stat = entry.object.as_ref().map(|object| &object.stat);
        stat.is_some_and(|stat| stat.kind() == Kind::Directory || stat.links() > 1)
    };
    let _nobody_looks =
        (matters(&old) || matters(&new)).then(|| (judge.several.begin(), judge.writable.begin()));
    rustix::fs::renameat_with(&old.parent, &old.name, &new.parent, &new.name, flags)?;
    Ok(Reply::Value(0))
}

/// What is moved. Between filesystems nothing is: the caller shall copy, whatever the area.
fn leave(request: &Request<'_>, entry: &Entry, crosses: bool) -> Result<()> {
    read_only_crossing(may_go(request, entry), crosses)
}

/// The name that something is moved onto.
fn arrive(request: &Request<'_>, entry: &Entry, what: Kind, crosses: bool) -> Result<()> {
    if entry.is_dots() {
        return Ok(()); // The kernel refuses each of these itself.
    }
    let allowed = match &entry.object {
        Some(_) => may_go(request, entry).and_then(|()| request.may_make(entry, what)),
        None => request.may_make(entry, what),
    };
    read_only_crossing(allowed, crosses)
}

/// What has a name. Nothing: as good as a file, and the kernel says that it is nothing.
fn kind_of(entry: &Entry) -> Kind {
    entry.object.as_ref().map_or(Kind::File, Object::kind)
}

fn read_only_crossing(allowed: Result<()>, crosses: bool) -> Result<()> {
    match allowed {
        Err(Errno::ROFS) if crosses => Ok(()),
        other => other,
    }
}

/// What is in a directory has to stand as before.
fn move_below(request: &Request<'_>, entry: &Entry, to: &Path) -> Result<()> {
    let judge = &request.shared.judge;
    let is_directory = entry.object.as_ref().is_some_and(|object| object.kind() == Kind::Directory);
    if is_directory
        && !entry.is_dots()
        && judge.name(to) < Standing::Protected
        && scan::moves_standing(judge, &entry.path, to)
    {
        request.refuse(to, Wanted::Change);
        return Err(Errno::ACCESS);
    }
    Ok(())
}
