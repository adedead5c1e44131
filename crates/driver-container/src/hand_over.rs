//! Giving the supervisor what it holds of the host: through one socket, which takes one connection and is gone.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chiton_driver_host::{Folder, Papers, ProcessId};
use tokio::net::UnixListener;

use crate::{mounts, user::User, workspace::Workspace};

/// The socket, in the folder that is mounted.
pub(crate) const SOCKET: &str = "hand-over.sock";
const FOLDER: &str = "hand-over";

/// How long the first process may take until it asks.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let refused = |text: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        if !is_first(process)? {
            return refused("it is not the first process of its container");
        }
        if !self.user.is_all_of(process)? {
            return refused("it has another user, or groups that its image gave to it");
        }
        if !self.workspace.is_seen_by(process, self.place)? {
            return refused("it was given another folder than the workspace");
        }
        if let Some(place) = mounts::foreign(process, &self.mounts)? {
            return refused(&format!(
                "its engine mounted `{place}` into it, which nobody asked for (`volumes` in Podman's \
                 containers.conf?): take that out of the engine's configuration"
            ));
        }
        Ok(())
    }
}

/// Whether a process is the first of its namespace: all others of the container end with it, and with none but it.
fn is_first(process: i32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1")))
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
        let listener = sandbox.listen(&format!("{FOLDER}/{SOCKET}"))?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(folder.join(SOCKET), fs::Permissions::from_mode(0o666))?;
        Ok(Self { folder, listener: UnixListener::from_std(listener)? })
    }

    /// Waits for the container's first process, gives it the papers, and says which process of this host it is.
    pub(crate) async fn give(self, papers: &Papers, expected: &Expected<'_>) -> io::Result<ProcessId> {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (link, _) = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        fs::remove_file(self.folder.join(SOCKET))?;
        let peer = link.peer_cred()?;
        // A process of another kernel has no number here.
        let number = peer.pid().unwrap_or_default();
        let process = ProcessId::of(number)?;
        expected.check(number)?;
        chiton_sys::descriptors::send(&link, &[0], &papers.descriptors())?;
        // Nothing comes back: its end shows that they were taken, or that the process is gone.
        let taken = tokio::time::timeout(PATIENCE, link.readable()).await;
        taken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(|()| process)
    }
}
