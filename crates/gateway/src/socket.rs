//! The gateway's socket: one gateway, one user.
//!
//! A lock (`flock`) in the runtime folder is held as long as a gateway lives, another in the state folder keeps
//! a second one with other sockets from the same store. Who holds them may replace a socket that is left.
//! The folder has mode 0700, the socket 0600, and each connection's other end is asked for: it is the
//! gateway's own user, or root.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chiton_api::paths::Paths;
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

/// Why this process cannot be the gateway.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another one holds the lock.
    #[error(
        "another gateway (with other sockets) uses the state folder `{0}`: stop that one, or set CHITON_STATE_DIR"
    )]
    StateInUse(PathBuf),
    /// A lock or a socket cannot be made.
    #[error("cannot {doing} `{path}`: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Held as long as this process is the gateway.
#[derive(Debug)]
pub(crate) struct Locks(#[expect(dead_code, reason = "held, not read")] [File; 2]);

/// Takes the locks; none when another gateway serves this runtime folder.
pub(crate) fn lock(paths: &Paths) -> Result<Option<Locks>, SocketError> {
    let Some(runtime) = try_lock(&paths.lock())? else { return Ok(None) };
    let state = try_lock(&paths.state.join("gateway.lock"))?;
    let state = state.ok_or_else(|| SocketError::StateInUse(paths.state.clone()))?;
    Ok(Some(Locks([runtime, state])))
}

fn try_lock(path: &Path) -> Result<Option<File>, SocketError> {
    let failed = |source| SocketError::Io { doing: "lock", path: path.to_path_buf(), source };
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = open.map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// Listens, in place of a socket that a gateway left which is gone.
pub(crate) fn listen(path: &Path) -> Result<Listener, SocketError> {
    let failed = |doing| move |source| SocketError::Io { doing, path: path.to_path_buf(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    // The folder's mode keeps others out until the socket's own does.
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("close"))?;
    Ok(Listener(listener))
}

/// Accepts connections of those who may connect.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

impl axum::serve::Listener for Listener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let accepted = axum::serve::Listener::accept(&mut self.0).await;
            match accepted.0.peer_cred() {
                Ok(peer) if may_connect(peer.uid(), geteuid().as_raw()) => return accepted,
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a connection of another user"),
                Err(error) => tracing::warn!(%error, "refused a connection of nobody knows whom"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn may_connect(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use chiton_api::paths::ConfigPlaces;

    use super::*;

    #[test]
    fn its_own_user_and_root_may_connect() {
        assert!(may_connect(1000, 1000) && may_connect(0, 1000) && may_connect(0, 0));
        assert!(!may_connect(1001, 1000) && !may_connect(1000, 0));
    }

    #[tokio::test]
    async fn one_gateway_and_a_left_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (state, runtime) = (folder.path().join("s"), folder.path().join("r"));
        let paths = Paths { state, runtime, config: ConfigPlaces::Usual(vec![]) };
        paths.prepare().unwrap();
        let first = lock(&paths).unwrap().unwrap();
        assert!(lock(&paths).unwrap().is_none(), "a second one");
        let elsewhere = Paths { runtime: folder.path().join("r2"), ..paths.clone() };
        elsewhere.prepare().unwrap();
        assert!(matches!(lock(&elsewhere), Err(SocketError::StateInUse(_))));
        drop(listen(&paths.socket()).unwrap());
        let listener = listen(&paths.socket()).unwrap();
        let mode = fs::metadata(paths.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(paths.socket()).await.is_ok());
        drop((listener, first));
    }
}
