//! Who keeps us from looking at a path. We look with the agent's rights, and the agent takes them away and gives
//! them back: it owns most of its folders. What only another user could open is out of its reach too.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use chiton_sys::{Errno, Result};
use rustix::fs::{Mode, OFlags};

use crate::{judge::Judge, object::Stat};

/// How far a path is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// A folder of another user's keeps the agent from everything there.
    ByAnother,
    /// A folder of another user's does not say what is in it; who knows a name gets to it.
    Unlisted,
    /// The agent may look, now or later.
    Perhaps,
}

/// Who keeps us from a path that was refused. Asked of every folder on the way while it is held: the agent changes
/// them meanwhile.
pub(crate) fn barred(judge: &Judge, path: &Path) -> Barred {
    let Ok((start, way)) = judge.without_masks(path) else { return Barred::Perhaps };
    let mut held: Option<OwnedFd> = None;
    for name in way {
        let folder = held.as_ref().map_or(start, AsFd::as_fd);
        match step(folder, Path::new(name)) {
            Ok(next) => held = Some(next),
            Err(Errno::ACCESS) if !may_be_opened(folder) => return Barred::ByAnother,
            Err(_) => return Barred::Perhaps,
        }
    }
    let end = held.as_ref().map_or(start, AsFd::as_fd);
    if may_be_opened(end) {
        return Barred::Perhaps;
    }
    match step(end, Path::new(".")) {
        Err(Errno::ACCESS) => Barred::ByAnother,
        Ok(_) | Err(_) => Barred::Unlisted,
    }
}

fn step(folder: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Whether the agent can change who may use it: we have its user.
fn may_be_opened(folder: BorrowedFd<'_>) -> bool {
    Stat::of(folder).map_or(true, |stat| stat.owner() == rustix::process::geteuid().as_raw())
}
