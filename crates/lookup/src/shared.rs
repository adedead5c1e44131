//! What all workers of a server share.

use std::{collections::HashSet, os::fd::OwnedFd, path::PathBuf, sync::RwLock};

use crate::{
    calls::{exec::Starts, socket::Sockets},
    event::{Sink, Throttle},
    images::Images,
    judge::Judge,
    owners::{Executables, Owners},
    waits::Waits,
};

/// The state of a server.
pub(crate) struct Shared {
    pub(crate) judge: Judge,
    pub(crate) host_proc: OwnedFd,
    /// The device of the view's own `/proc`.
    pub(crate) proc_device: Option<u64>,
    /// Held for writing while a name moves, for reading while one is made: a directory cannot go, between
    /// judgement and deed, to where the deed would be refused.
    pub(crate) tree: RwLock<()>,
    pub(crate) sockets: Sockets,
    pub(crate) owners: Owners,
    pub(crate) executables: Executables,
    /// Mount points of filesystems that only the sandbox has.
    pub(crate) private: Vec<PathBuf>,
    pub(crate) blocked: HashSet<i32>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) throttle: Throttle,
    pub(crate) starts: Starts,
    pub(crate) images: Images,
    pub(crate) waits: Waits,
}
