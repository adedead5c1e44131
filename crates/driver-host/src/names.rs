//! The host's names, as they change while sandboxes run: a laptop is carried to another network, a VPN comes up.
//!
//! A proxy reads them as it starts and gives up its files then. Every few seconds it is looked whether they are others
//! now, and whoever has not been told is handed the files, open.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use chiton_api::control::{NAME_FILES, ProxyReply, ProxyRequest};

use crate::{
    folder::{Folder, PROXY},
    wire,
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// How long a proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which files these are: inode, length and time of the last change, where they are there.
pub(crate) type Versions = [Option<(u64, u64, i64, i64)>; 2];

/// Which they are now.
pub(crate) fn versions() -> Versions {
    let version = |found: fs::Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    NAME_FILES.map(|path| fs::metadata(path).map(version).ok())
}

/// What each sandbox's proxy knows; nothing where an earlier gateway told it.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<Folder, Option<Versions>>>);

impl Told {
    /// Looks from now on, for as long as somebody else holds it. In a tokio runtime.
    pub(crate) fn follow(self: &Arc<Self>) {
        let told = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(told) = Weak::upgrade(&told) else { return };
                told.look().await;
            }
        });
    }

    /// The proxy of this sandbox knows these names.
    pub(crate) fn knows(&self, sandbox: &Folder, names: Option<Versions>) {
        self.all().insert(sandbox.clone(), names);
    }

    /// Tells whoever does not know the names as they are now.
    async fn look(&self) {
        // A sandbox that has ended has no folder any more.
        self.all().retain(|sandbox, _| sandbox.file(PROXY).exists());
        if self.all().is_empty() {
            return;
        }
        // Before they are opened: a change in between shows at the next look.
        let now = versions();
        let due: Vec<Folder> = self
            .all()
            .iter()
            .filter(|(_, told)| **told != Some(now))
            .map(|(folder, _)| folder.clone())
            .collect();
        for sandbox in due {
            match tell(&sandbox).await {
                Ok(()) => self.knows(&sandbox, Some(now)),
                // It is gone, or about to be. One in its place reads them by itself.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.all().remove(&sandbox);
                }
                Err(error) => {
                    tracing::warn!(%error, ?sandbox, "cannot tell a proxy of the host's name servers: again soon");
                }
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Folder, Option<Versions>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tell(sandbox: &Folder) -> io::Result<()> {
    let mut link = sandbox.connect(PROXY)?;
    let [servers, hosts] = NAME_FILES.map(|path| File::open(path).or_else(|_| File::open("/dev/null")));
    let (servers, hosts) = (servers?, hosts?);
    let files = [servers.as_fd(), hosts.as_fd()];
    let exchange = wire::hand_over(&mut link, &ProxyRequest::Names, &files);
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.0 {
        ProxyReply::Done => Ok(()),
        ProxyReply::Failed(failure) => Err(io::Error::other(failure)),
        ProxyReply::Enforcing { .. } | ProxyReply::Status(_) | ProxyReply::Rejected(_) => {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn whoever_does_not_know_the_names_is_handed_them_once() {
        let runtime = tempfile::tempdir().unwrap();
        let [old, new, gone] = ["old", "new", "gone"].map(|name| Folder::at(runtime.path().join(name)));
        let told = Told::default();
        let mut proxies = Vec::new();
        for (folder, known) in [(&old, None), (&new, Some(versions())), (&gone, None)] {
            folder.make().unwrap();
            let listener = folder.listen(PROXY).unwrap();
            listener.set_nonblocking(true).unwrap();
            proxies.push(UnixListener::from_std(listener).unwrap());
            told.knows(folder, known);
        }
        let _ = proxies.pop();
        let proxy = async {
            let (mut link, _) = proxies[0].accept().await.unwrap();
            let (request, files) = wire::receive::<ProxyRequest>(&mut link).await.unwrap();
            assert!(matches!(request, ProxyRequest::Names));
            wire::send(&mut link, &ProxyReply::Done, &[]).await.unwrap();
            files
        };
        let (files, ()) = tokio::join!(proxy, told.look());
        for (file, path) in files.into_iter().zip(NAME_FILES) {
            let mut handed = Vec::new();
            File::from(file).read_to_end(&mut handed).unwrap();
            assert_eq!(handed, fs::read(path).unwrap_or_default());
        }
        // Nobody waits at either now: all are told, or gone.
        tokio::time::timeout(PATIENCE / 2, told.look()).await.unwrap();
        assert_eq!(told.all().len(), 2);
        assert!(!told.all().contains_key(&gone));
    }
}
