//! Supervisors as processes of this host. One is started as soon as a sandbox is asked for, beside what is done before
//! it is needed; whose it is it hears with what it holds of the host.
//!
//! *Always*: at most one waits, it has nothing but its end of a link, and it ends when the other end is gone.

use std::{
    io,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chiton_driver_host::{Held, Papers, ProcessId};
use tokio::task::{JoinHandle, spawn_blocking};

/// Where supervisors are started.
#[derive(Debug)]
pub(crate) struct Supervisors {
    /// The `chiton` that is started.
    executable: PathBuf,
    next: Mutex<Option<JoinHandle<io::Result<Waiting>>>>,
}

/// A supervisor that has no sandbox yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: ProcessId,
    held: Held,
    link: UnixStream,
}

impl Supervisors {
    /// Of this program.
    pub(crate) fn of(executable: &Path) -> Self {
        Self { executable: executable.to_owned(), next: Mutex::default() }
    }

    /// Starts one, where none waits. A failure shows when one is needed.
    pub(crate) fn begin(&self) {
        let mut next = self.next();
        if next.is_none() {
            let executable = self.executable.clone();
            *next = Some(spawn_blocking(move || Waiting::start(&executable)));
        }
    }

    /// The one that waits, or another.
    pub(crate) async fn take(&self) -> io::Result<Waiting> {
        let begun = self.next().take();
        if let Some(begun) = begun
            && let Ok(Ok(waiting)) = begun.await
            && !waiting.held.has_ended()
        {
            return Ok(waiting);
        }
        Waiting::start(&self.executable)
    }

    fn next(&self) -> MutexGuard<'_, Option<JoinHandle<io::Result<Waiting>>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn start(executable: &Path) -> io::Result<Self> {
        let (link, theirs) = UnixStream::pair()?;
        let (id, held) = chiton_driver_host::start(executable, c"supervisor", &[theirs.as_fd()])?;
        Ok(Self { id, held, link })
    }

    /// Which process it is.
    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Makes it a sandbox's, which it begins with.
    pub(crate) fn give(self, papers: &Papers) -> io::Result<()> {
        chiton_sys::descriptors::send(&self.link, &[0], &papers.descriptors())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_waits_and_one_that_ended_is_not_taken() {
        let supervisors = Supervisors::of(Path::new("/bin/cat"));
        supervisors.begin();
        supervisors.begin();
        let first = supervisors.take().await.unwrap();
        assert!(supervisors.next().is_none());
        let second = supervisors.take().await.unwrap();
        assert_ne!(first.id(), second.id());
        supervisors.begin();
        let begun = supervisors.next().take().unwrap();
        let ended = begun.await.unwrap().unwrap();
        ended.held.end().await.unwrap();
        let id = ended.id();
        *supervisors.next() = Some(spawn_blocking(|| Ok(ended)));
        assert_ne!(supervisors.take().await.unwrap().id(), id);
    }
}
