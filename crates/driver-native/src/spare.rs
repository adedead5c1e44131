//! Processes that are started ahead, one of each role, since they take longer to start than a sandbox may.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{
    folder::{Folder, PROXY, SUPERVISOR},
    process::{self, Held, ProcessId},
};

/// What a process will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A sandbox's proxy, which waits for `Configure`.
    Proxy,
    /// A sandbox's supervisor, which waits for its papers.
    Supervisor,
}

impl Role {
    const fn subcommand(self) -> &'static CStr {
        match self {
            Self::Proxy => c"proxy",
            Self::Supervisor => c"supervisor",
        }
    }

    const fn socket(self) -> &'static str {
        match self {
            Self::Proxy => PROXY,
            Self::Supervisor => SUPERVISOR,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Proxy => "proxies",
            Self::Supervisor => "supervisors",
        }
    }
}

/// A process that waits for its sandbox.
#[derive(Debug)]
pub(crate) struct Spare {
    id: ProcessId,
    held: Held,
    /// Its socket, which moves to the sandbox's folder.
    folder: Folder,
    papers: Option<OwnedFd>,
}

/// A process that belongs to a sandbox now.
#[derive(Debug)]
pub(crate) struct Taken {
    /// It is held.
    pub(crate) held: Held,
    /// By which a supervisor gets its papers; it ends when this is closed before.
    pub(crate) papers: Option<OwnedFd>,
}

/// Where processes of one role are started.
#[derive(Debug)]
pub(crate) struct Spares {
    role: Role,
    executable: PathBuf,
    /// A folder for each spare; another gateway's leftovers are recognised by their records.
    spares: PathBuf,
    next: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    spare: Option<Spare>,
    closed: bool,
}

impl Spares {
    pub(crate) fn new(role: Role, executable: &Path, runtime: &Path) -> Self {
        let spares = runtime.join("spares").join(role.folder());
        Self { role, executable: executable.to_owned(), spares, next: Mutex::default() }
    }

    /// Ends what an earlier gateway left waiting.
    pub(crate) fn clear_leftovers(&self) {
        for entry in fs::read_dir(&self.spares).into_iter().flatten().flatten() {
            let folder = Folder::at(entry.path());
            if let Some(held) = folder.spare_record().and_then(ProcessId::hold) {
                let _ = held.kill();
            }
            let _ = folder.remove();
        }
    }

    /// Starts the next spare, where none waits.
    pub(crate) fn refill(&self) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.closed || next.spare.as_ref().is_some_and(|spare| !spare.held.has_ended()) {
            return Ok(());
        }
        let spare = self.start(&next_name())?;
        if let Some(dead) = next.spare.replace(spare) {
            let _ = dead.folder.remove();
        }
        Ok(())
    }

    /// No spare any more.
    pub(crate) fn close(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.closed = true;
        if let Some(spare) = next.spare.take() {
            let _ = spare.held.kill();
            let _ = spare.folder.remove();
        }
    }

    /// A process for a sandbox: the spare, or one that is started now.
    pub(crate) fn take(&self) -> io::Result<Spare> {
        let waiting = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.closed {
                return Err(io::ErrorKind::NotConnected.into());
            }
            next.spare.take()
        };
        match waiting {
            Some(spare) if !spare.held.has_ended() => Ok(spare),
            // Its own, not the next spare: that one another start may take.
            None => self.start(&next_name()),
            Some(dead) => {
                let _ = dead.folder.remove();
                self.start(&next_name())
            }
        }
    }

    fn start(&self, name: &str) -> io::Result<Spare> {
        let folder = Folder::at(self.spares.join(name));
        folder.make()?;
        let listener = folder.listen(self.role.socket())?;
        let mut descriptors = vec![listener.as_fd()];
        let pair = match self.role {
            Role::Proxy => None,
            Role::Supervisor => {
                Some(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
            }
        };
        descriptors.extend(pair.as_ref().map(|(_, theirs)| theirs.as_fd()));
        let (id, held) = process::start(&self.executable, self.role.subcommand(), &descriptors)?;
        folder.write_spare_record(id)?;
        Ok(Spare { id, held, folder, papers: pair.map(|(ours, _)| ours) })
    }
}

/// The next folder's name: no other gateway's, and no other driver's of this process.
fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Spare {
    /// Which process it is.
    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// It becomes a sandbox's: its socket moves to the sandbox's folder. One that cannot is killed.
    pub(crate) fn move_to(self, sandbox: &Folder, role: Role) -> io::Result<Taken> {
        let moved = fs::rename(self.folder.file(role.socket()), sandbox.file(role.socket()));
        let _ = self.folder.remove();
        if moved.is_err() {
            let _ = self.held.kill();
        }
        moved.map(|()| Taken { held: self.held, papers: self.papers })
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_at_once_each_get_their_own() {
        let runtime = tempfile::tempdir().unwrap();
        let proxies = Spares::new(Role::Proxy, Path::new("/bin/true"), runtime.path());
        proxies.refill().unwrap();
        let tokio = tokio::runtime::Handle::current();
        let mut ids = Vec::new();
        std::thread::scope(|scope| {
            let one = || {
                let _inside = tokio.enter();
                let taken = proxies.take().unwrap().id();
                proxies.refill().unwrap();
                taken
            };
            let takers: Vec<_> = (0..20).map(|_| scope.spawn(one)).collect();
            ids.extend(takers.into_iter().map(|taker| taker.join().unwrap()));
        });
        assert_eq!(ids.len(), 20);
        assert!(ids.iter().enumerate().all(|(at, id)| !ids.iter().take(at).any(|other| other == id)));
        proxies.close();
        assert_eq!(proxies.take().unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
