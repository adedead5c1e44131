//! The sockets of what runs, held: they are reached also once the folder that they were found in is taken away.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chiton_driver::SandboxId;
use tokio::net::UnixStream;

use crate::folder::{Folder, Whom, connect};

/// The sockets that were reached so far, each by a descriptor that only names it (`O_PATH`, `open(2)`).
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<HashMap<(SandboxId, Whom), Arc<OwnedFd>>>);

impl Sockets {
    /// A connection to one who has a socket in this folder, or had.
    ///
    /// # Errors
    /// As [`Folder::connect`].
    pub(crate) fn connect(&self, id: &SandboxId, folder: &Folder, whom: Whom) -> io::Result<UnixStream> {
        let held = self.all().get(&(id.clone(), whom)).cloned();
        if let Some(link) = held.and_then(|socket| connect(&socket).ok()) {
            return Ok(link);
        }
        // Not yet held, or in the place of one that is gone.
        let socket = folder.hold(whom.socket())?;
        let link = connect(&socket)?;
        self.all().insert((id.clone(), whom), Arc::new(socket));
        Ok(link)
    }

    /// They are gone.
    pub(crate) fn forget(&self, id: &SandboxId) {
        self.all().retain(|(of, _), _| of != id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(SandboxId, Whom), Arc<OwnedFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
