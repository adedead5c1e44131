//! What makes a name: directories, nodes, symlinks, links.

use chiton_sys::{Errno, Result};
use rustix::fs::{AtFlags, FileType, Mode};

use crate::{
    object::{Entry, Kind, Number, Object},
    request::{Reply, Request, known_flags, refuse_set_id},
    rules::Standing,
    table::{Flags, Shape},
};

pub(crate) fn mkdir(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let mode = request.bits(shape.rest) & 0o7777;
    refuse_set_id(mode)?;
    make(request, shape, Kind::Directory, |entry| {
        rustix::fs::mkdirat(&entry.parent, &entry.name, Mode::from_raw_mode(mode))
    })
}

/// Files, FIFOs and sockets: no device.
pub(crate) fn mknod(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let mode = request.bits(shape.rest);
    refuse_set_id(mode & 0o7777)?;
    let kind = match mode & libc::S_IFMT {
        0 | libc::S_IFREG => FileType::RegularFile,
        libc::S_IFIFO => FileType::Fifo,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR | libc::S_IFBLK | libc::S_IFDIR => return Err(Errno::PERM),
        _ => return Err(Errno::INVAL),
    };
    let mode = Mode::from_raw_mode(mode & 0o7777);
    make(request, shape, Kind::File, |entry| rustix::fs::mknodat(&entry.parent, &entry.name, kind, mode, 0))
}

/// A symlink's text is its maker's business: every lookup through it is judged.
pub(crate) fn symlink(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let target = request.text(shape.rest)?;
    if target.is_empty() {
        return Err(Errno::NOENT);
    }
    make(request, shape, Kind::Symlink, |entry| {
        rustix::fs::symlinkat(target.as_slice(), &entry.parent, &entry.name)
    })
}

fn make(
    request: &Request<'_>,
    shape: &Shape,
    what: Kind,
    deed: impl Fn(&Entry) -> Result<()>,
) -> Result<Reply> {
    let _names = request.names_stay();
    let entry = request.entry(shape.directory, shape.path)?;
    // A name that is taken is the kernel's to refuse, whatever the area.
    if entry.object.is_none() {
        request.may_make(&entry, what)?;
    }
    request.take_umask()?;
    deed(&entry)?;
    Ok(Reply::Value(0))
}

/// `link`, `linkat`: neither onto a denied or protected name, nor from such an object.
pub(crate) fn link(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = linked(request, shape)?;
    let _names = request.names_stay();
    let entry = request.entry(shape.second.0, shape.second.1)?;
    if entry.object.is_none() {
        request.may_make(&entry, Kind::File)?;
    }
    if matches!(object.standing, Standing::FolderOnly | Standing::Protected) {
        request.may_change(&object)?;
    }
    let number = Number::of(&object.fd)?;
    let judge = &request.shared.judge;
    let own = &judge.own;
    // No name moves out of the way of who looks for what can be written: a new one here, and the old one removed.
    let _nobody_looks = judge.writable.begin();
    rustix::fs::linkat(own, number.as_c_str(), &entry.parent, &entry.name, AtFlags::SYMLINK_FOLLOW)?;
    Ok(Reply::Value(0))
}

/// What is linked. Here following is what has to be asked for.
fn linked(request: &Request<'_>, shape: &Shape) -> Result<Object> {
    let asked = match shape.flags {
        Flags::Fixed(_) => 0,
        Flags::Argument(index) => request.bits(index),
    };
    known_flags(asked, libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH)?;
    let mut flags = asked & libc::AT_EMPTY_PATH.unsigned_abs();
    if asked & libc::AT_SYMLINK_FOLLOW.unsigned_abs() == 0 {
        flags |= libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    }
    request.object(&Shape { flags: Flags::Fixed(flags), ..*shape })
}
