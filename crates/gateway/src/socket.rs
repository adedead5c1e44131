//! The gateway's socket: one gateway, one user.
//!
//! A lock (`flock`) in the runtime folder is held as long as a gateway lives, another in the state folder keeps
//! a second one with other sockets from the same store. Who holds them may replace a socket that is left.
//! A session manager takes the runtime folder away when its user leaves, though this process stays: both are made anew.
//! The folder has mode 0700, the socket 0600, and each connection's other end is asked for: it is the
//! gateway's own user, or root.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chiton_api::paths::{Paths, PathsError};
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    time::sleep,
};

/// How often a gateway that nobody calls looks whether it can be found.
const LOOK: Duration = Duration::from_secs(1);

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
pub(crate) struct Locks {
    /// The runtime folder's, which may be another folder by now.
    runtime: Mutex<File>,
    #[expect(dead_code, reason = "held, not read")]
    state: File,
}

/// Takes the locks; none when another gateway serves this runtime folder.
pub(crate) fn lock(paths: &Paths) -> Result<Option<Arc<Locks>>, SocketError> {
    let Some(runtime) = try_lock(&paths.lock())? else { return Ok(None) };
    let state = try_lock(&paths.state.join("gateway.lock"))?;
    let state = state.ok_or_else(|| SocketError::StateInUse(paths.state.clone()))?;
    Ok(Some(Arc::new(Locks { runtime: Mutex::new(runtime), state })))
}

impl Locks {
    /// Whether who looks for the runtime folder's finds it.
    fn are_found(&self, paths: &Paths) -> bool {
        self.runtime().metadata().is_ok_and(|held| names(&paths.lock(), which(&held)))
    }

    fn runtime(&self) -> MutexGuard<'_, File> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the runtime folder's again, where that was made anew. False where another gateway has it.
    fn renew(&self, paths: &Paths) -> Result<bool, SocketError> {
        if self.are_found(paths) {
            return Ok(true);
        }
        let Some(lock) = try_lock(&paths.lock())? else { return Ok(false) };
        *self.runtime() = lock;
        Ok(true)
    }
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
pub(crate) fn listen(paths: &Paths, locks: &Arc<Locks>) -> Result<Listener, SocketError> {
    let (listener, file) = bind(&paths.socket())?;
    Ok(Listener { listener, file, paths: paths.clone(), locks: Arc::clone(locks), lost: false })
}

/// Which file a name is: its device and its inode.
type FileId = (u64, u64);

fn which(found: &fs::Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Whether a name is this file's.
fn names(path: &Path, file: FileId) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| which(&found) == file)
}

fn bind(path: &Path) -> Result<(UnixListener, FileId), SocketError> {
    let failed = |doing| move |source| SocketError::Io { doing, path: path.to_path_buf(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    // The folder's mode keeps others out until the socket's own does.
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("close"))?;
    let found = fs::symlink_metadata(path).map_err(failed("find"))?;
    Ok((listener, which(&found)))
}

/// Accepts connections of those who may connect.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    /// Which its name is.
    file: FileId,
    paths: Paths,
    locks: Arc<Locks>,
    /// Its name was taken away, and could not be given again yet.
    lost: bool,
}

impl Listener {
    /// Sees to it that it can be found.
    fn stay_found(&mut self) {
        if names(&self.paths.socket(), self.file) && self.locks.are_found(&self.paths) {
            return;
        }
        match self.listen_again() {
            Ok(()) => {
                self.lost = false;
                tracing::warn!("the gateway's socket or its lock was taken away: it is made anew");
            }
            Err(error) if !self.lost => {
                self.lost = true;
                tracing::error!(%error, "the gateway's socket or its lock was taken away: it is made anew once it can be");
            }
            Err(_) => {}
        }
    }

    fn listen_again(&mut self) -> Result<(), Lost> {
        self.paths.prepare()?;
        // Whoever holds it for a moment looks whether there is another gateway, and finds that there is.
        if !self.locks.renew(&self.paths)? {
            return Err(Lost::Locked);
        }
        if !names(&self.paths.socket(), self.file) {
            (self.listener, self.file) = bind(&self.paths.socket())?;
        }
        Ok(())
    }
}

/// Why a socket is not made anew yet.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("another gateway holds its lock")]
    Locked,
}

impl axum::serve::Listener for Listener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let accepted = tokio::select! {
                accepted = axum::serve::Listener::accept(&mut self.listener) => accepted,
                () = sleep(LOOK) => {
                    self.stay_found();
                    continue;
                }
            };
            match accepted.0.peer_cred() {
                Ok(peer) if may_connect(peer.uid(), geteuid().as_raw()) => return accepted,
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a connection of another user"),
                Err(error) => tracing::warn!(%error, "refused a connection of nobody knows whom"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
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
        drop(listen(&paths, &first).unwrap());
        let listener = listen(&paths, &first).unwrap();
        let mode = fs::metadata(paths.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(paths.socket()).await.is_ok());
        drop((listener, first));
    }

    #[tokio::test]
    async fn what_was_taken_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (state, runtime) = (folder.path().join("s"), folder.path().join("r"));
        let paths = Paths { state, runtime, config: ConfigPlaces::Usual(vec![]) };
        paths.prepare().unwrap();
        let locks = lock(&paths).unwrap().unwrap();
        let mut listener = listen(&paths, &locks).unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                drop(axum::serve::Listener::accept(&mut listener).await);
            }
        });
        let found = async || {
            while UnixStream::connect(paths.socket()).await.is_err() {
                sleep(LOOK / 50).await;
            }
        };
        fs::remove_dir_all(&paths.runtime).unwrap();
        found().await;
        assert!(try_lock(&paths.lock()).unwrap().is_none(), "the new one is locked");
        fs::remove_file(paths.socket()).unwrap();
        found().await;
        fs::remove_file(paths.lock()).unwrap();
        while !paths.lock().exists() {
            sleep(LOOK / 50).await;
        }
        assert!(try_lock(&paths.lock()).unwrap().is_none(), "locked again");
        accepting.abort();
    }
}
