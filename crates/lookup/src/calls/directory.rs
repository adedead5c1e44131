//! `chdir`, and watching for changes.

use chiton_sys::{Errno, Result};
use rustix::fs::inotify::{self, WatchFlags};

use super::in_own_directory;
use crate::{
    object::{Kind, Number},
    request::{Reply, Request},
    resolve::{self, How},
    table::{From, Shape},
};

/// Judged, then left to the kernel: nobody can change another's working directory. A path that changes in
/// between gains nothing, for every lookup from there is judged by the path that the directory then has.
pub(crate) fn chdir(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.object(shape)?;
    if object.kind() == Kind::Directory { Ok(Reply::Continue) } else { Err(Errno::NOTDIR) }
}

pub(crate) fn watch(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let flags = WatchFlags::from_bits_retain(request.bits(shape.rest));
    let watcher = request.caller.descriptor(request.int(0))?;
    let (start, text) = request.origin(From::Cwd, shape.path)?;
    let follow = !flags.contains(WatchFlags::DONT_FOLLOW);
    let object = resolve::find(request, &start, &text, How::new(follow))?;
    in_own_directory(request)?;
    let number = Number::of(&object.fd)?;
    let flags = flags.difference(WatchFlags::DONT_FOLLOW);
    let watch = inotify::add_watch(watcher, number.as_c_str(), flags)?;
    Ok(Reply::Value(watch.into()))
}
