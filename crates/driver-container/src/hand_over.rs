//! Giving the supervisor what it holds of the host: through one socket, which takes one connection and is gone.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chiton_driver_host::{Folder, Papers, ProcessId};
use chiton_sys::first::{self, Ordered};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
};

use crate::{user::User, workspace::Workspace};

/// The socket, in the folder that is mounted.
pub(crate) const SOCKET: &str = "hand-over.sock";
const FOLDER: &str = "hand-over";

/// How long the first process may take until it asks.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the first process says that takes nothing is no longer.
const LONGEST: usize = 1024;

/// Whom the papers are for.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) user: User,
    pub(crate) workspace: &'a Workspace,
    /// Where it has that.
    pub(crate) place: &'a str,
    /// Where it may have something mounted, that place among them.
    pub(crate) mounts: Vec<&'a Path>,
}

impl Expected<'_> {
    /// Whether a process is what was ordered of the engine.
    fn check(&self, process: i32) -> io::Result<()> {
        let User { uid, gid } = self.user;
        let ordered = Ordered { uid, gid, groups: &User::further_groups()?, mounts: &self.mounts };
        let differs = first::differs(&process.to_string(), ordered)?;
        let other = "it was given another folder than the workspace";
        let differs = match differs {
            None if !self.workspace.is_seen_by(process, self.place)? => Some(other.to_owned()),
            differs => differs,
        };
        match differs {
            Some(differs) => Err(io::Error::new(io::ErrorKind::PermissionDenied, differs)),
            None => Ok(()),
        }
    }
}

/// A socket that nobody has connected to yet.
#[derive(Debug)]
pub(crate) struct HandOver {
    /// The folder with it, and nothing else.
    pub(crate) folder: PathBuf,
    listener: UnixListener,
}

impl HandOver {
    /// In the sandbox's folder, which nobody else can reach. Only the container is given what is made here.
    pub(crate) fn open(sandbox: &Folder) -> io::Result<Self> {
        let folder = sandbox.file(FOLDER);
        fs::DirBuilder::new().mode(0o711).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
        Self::within(folder)
    }

    /// In a folder of its own.
    pub(crate) fn within(folder: PathBuf) -> io::Result<Self> {
        let listener = Folder::at(folder.clone()).listen(SOCKET)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(folder.join(SOCKET), fs::Permissions::from_mode(0o666))?;
        Ok(Self { folder, listener: UnixListener::from_std(listener)? })
    }

    /// Waits for the container's first process, gives it the papers, and says which process of this host it is.
    pub(crate) async fn give(self, papers: &Papers, expected: &Expected<'_>) -> io::Result<ProcessId> {
        let link = self.accept().await?;
        let peer = link.peer_cred()?;
        // A process of another kernel has no number here.
        let number = peer.pid().unwrap_or_default();
        let process = ProcessId::of(number)?;
        expected.check(number)?;
        send(&link, papers).await.map(|()| process)
    }

    /// The same from one container to the other, whose first process has looked at itself.
    pub(crate) async fn give_beside(self, papers: &Papers) -> io::Result<()> {
        let mut link = self.accept().await?;
        let mut said = [0; LONGEST];
        let read = tokio::time::timeout(PATIENCE, link.read(&mut said)).await;
        let read = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        match said.get(..read).unwrap_or_default() {
            [] => Err(io::ErrorKind::UnexpectedEof.into()),
            [0] => send(&link, papers).await,
            differs => {
                let text = String::from_utf8_lossy(differs).escape_debug().to_string();
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
        }
    }

    async fn accept(&self) -> io::Result<UnixStream> {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (link, _) = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        fs::remove_file(self.folder.join(SOCKET))?;
        Ok(link)
    }
}

/// Its end shows that they were taken, or that the process is gone.
async fn send(link: &UnixStream, papers: &Papers) -> io::Result<()> {
    chiton_sys::descriptors::send(link, &[0], &papers.descriptors())?;
    let taken = tokio::time::timeout(PATIENCE, link.readable()).await;
    taken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use chiton_driver_host::{Local, Proxies};

    use super::*;

    /// What a first process gets that says this of itself.
    async fn gets(said: &'static str) -> (io::Result<()>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Folder::at(folder.path().join("sandbox"));
        sandbox.make().unwrap();
        let id = "01jdzzzzzzzzzzzzzzzzzzzzzz".to_owned().try_into().unwrap();
        let local =
            Local::new(id, sandbox.clone(), Proxies::ahead(std::path::Path::new("/bin/true"), folder.path()));
        let papers = local.papers().unwrap();
        let hand_over = HandOver::open(&sandbox).unwrap();
        let socket = hand_over.folder.join(SOCKET);
        let first = std::thread::spawn(move || {
            let mut link = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            link.write_all(said.as_bytes()).unwrap();
            link.shutdown(std::net::Shutdown::Write).unwrap();
            let got =
                chiton_sys::descriptors::receive(&link, &mut [0; 1]).map_or(0, |(_, given)| given.len());
            let _ = link.read(&mut [0; 1]);
            assert!(!socket.exists(), "it takes one connection");
            got
        });
        let given = hand_over.give_beside(&papers).await;
        (given, first.join().unwrap())
    }

    #[tokio::test]
    async fn who_is_not_what_was_ordered_gets_nothing() {
        let (given, got) = gets("it has\nanother user").await;
        let error = given.unwrap_err();
        assert_eq!((error.kind(), got), (io::ErrorKind::PermissionDenied, 0));
        assert_eq!(error.to_string(), "it has\\nanother user");
        let (given, got) = gets("").await;
        assert_eq!((given.unwrap_err().kind(), got), (io::ErrorKind::UnexpectedEof, 0));
        let (given, got) = gets("\0").await;
        assert_eq!((given.is_ok(), got), (true, 4));
    }
}
