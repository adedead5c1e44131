//! The sandbox's proxy: one is always started ahead, since it takes longer to start than a sandbox may.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chiton_api::control::{ProxyConfig, ProxyReply, ProxyRequest};
use chiton_driver::DriverError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{
    folder::{self, Folder, PROXY},
    names::{Told, Versions, versions},
    process::{self, Held, ProcessId},
    supervisor::Captured,
    wire,
};

/// By then a sandbox has begun whose proxy enforces, and the next one of several in a row does not need its own yet.
const BEGINNING: Duration = Duration::from_millis(15);
/// By then who waited for the end of a sandbox that is gone has been told.
const ENDING: Duration = Duration::from_millis(2);

/// A proxy that waits for its sandbox.
#[derive(Debug)]
pub(crate) struct Spare {
    read: Versions,
    id: ProcessId,
    held: Held,
    /// Its socket, which moves to the sandbox's folder.
    folder: Folder,
    /// It ends with this, unless it is configured.
    #[expect(dead_code, reason = "held for its end")]
    gateway: OwnedFd,
}

/// Where proxies are started; the drivers of one gateway share it.
#[derive(Debug)]
pub struct Proxies {
    executable: PathBuf,
    /// A folder for each spare; another gateway's leftovers are recognised by their records.
    spares: PathBuf,
    next: Mutex<Waiting>,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Waiting {
    spare: Option<Spare>,
    count: u64,
    closed: bool,
}

/// Why a proxy does not enforce.
#[derive(Debug)]
pub(crate) enum AttachError {
    /// It could not be started or reached.
    Io(&'static str, io::Error),
    /// It refused.
    Refused(chiton_api::control::Failure),
}

impl From<AttachError> for DriverError {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Io(doing, source) => Self::Io { doing, source },
            AttachError::Refused(failure) => failure.into(),
        }
    }
}

impl Proxies {
    /// Proxies of this program, and a first one ahead. In a tokio runtime.
    #[must_use]
    pub fn ahead(executable: &Path, runtime: &Path) -> Arc<Self> {
        let proxies = Arc::new(Self::new(executable, runtime));
        proxies.clear_leftovers();
        proxies.refill_soon();
        proxies.told.follow();
        proxies
    }

    fn new(executable: &Path, runtime: &Path) -> Self {
        let spares = runtime.join("spares");
        Self { executable: executable.to_owned(), spares, next: Mutex::default(), told: Arc::default() }
    }

    /// Starts the next proxy ahead, in the background. A failure shows when one is needed.
    pub(crate) fn refill_soon(self: &Arc<Self>) {
        let proxies = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = proxies.refill() {
                tracing::warn!(%error, "cannot start a proxy ahead");
            }
        });
    }

    /// The same once a sandbox has ended.
    pub(crate) fn refill_after_end(self: &Arc<Self>) {
        self.refill_after(ENDING);
    }

    /// The same, later: what starts ahead takes the processors from what is waited for.
    fn refill_after(self: &Arc<Self>, pause: Duration) {
        let proxies = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            proxies.refill_soon();
        });
    }

    /// Ends what an earlier gateway left waiting.
    fn clear_leftovers(&self) {
        for entry in fs::read_dir(&self.spares).into_iter().flatten().flatten() {
            let folder = Folder::at(entry.path());
            if let Some(held) = folder.spare_record().and_then(ProcessId::hold) {
                let _ = held.kill();
            }
            let _ = folder.remove();
        }
    }

    /// Starts the next spare, where none waits.
    fn refill(&self) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.closed || next.spare.as_ref().is_some_and(|spare| !spare.held.has_ended()) {
            return Ok(());
        }
        let spare = self.start(&next.name())?;
        if let Some(dead) = next.spare.replace(spare) {
            let _ = dead.folder.remove();
        }
        Ok(())
    }

    /// No spare any more.
    fn close(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.closed = true;
        if let Some(spare) = next.spare.take() {
            let _ = spare.held.kill();
            let _ = spare.folder.remove();
        }
    }

    /// A proxy for a sandbox: the spare, or one that is started now.
    fn take(&self) -> io::Result<Spare> {
        let (waiting, name) = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.closed {
                return Err(io::ErrorKind::NotConnected.into());
            }
            (next.spare.take(), next.name())
        };
        match waiting {
            Some(spare) if spare.serves(&versions()) => Ok(spare),
            // Its own, not the next spare: that one another start may take.
            None => self.start(&name),
            Some(other) => {
                let _ = other.held.kill();
                let _ = other.folder.remove();
                self.start(&name)
            }
        }
    }

    /// Has a proxy enforce for a sandbox whose listeners these are, with its event file. Which process it is is told before
    /// it knows anything.
    pub(crate) async fn enforce(
        self: &Arc<Self>,
        sandbox: &Folder,
        captured: Captured,
        (events, mut config): (&Path, ProxyConfig),
        begun: impl FnOnce(ProcessId) -> chiton_driver::Result<()>,
    ) -> chiton_driver::Result<()> {
        let io = |doing| move |source| DriverError::Io { doing, source };
        let events = folder::append_to(events).map_err(io("cannot open the sandbox's event file"))?;
        let Captured { listeners, mut descriptors } = captured;
        descriptors.push(events.into());
        config.listeners = listeners;
        let spare = self.take().map_err(io("cannot start the sandbox's proxy"))?;
        begun(spare.id())?;
        let read = spare.read;
        let enforcing = spare.attach(sandbox, config, &descriptors).await;
        self.refill_after(BEGINNING);
        enforcing?;
        self.told.knows(sandbox, Some(read));
        Ok(())
    }

    /// The proxy of this sandbox was begun by an earlier gateway.
    pub(crate) fn adopt(&self, sandbox: &Folder) {
        self.told.knows(sandbox, None);
    }

    fn start(&self, name: &str) -> io::Result<Spare> {
        let (read, folder) = (versions(), Folder::at(self.spares.join(name)));
        folder.make()?;
        let listener = folder.listen(PROXY)?;
        let (gateway, waits) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let (id, held) = process::start(&self.executable, c"proxy", &[listener.as_fd(), waits.as_fd()])?;
        folder.write_spare_record(id)?;
        Ok(Spare { read, id, held, folder, gateway })
    }
}

impl Waiting {
    /// The next folder's name, no other gateway's.
    fn name(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", std::process::id(), self.count)
    }
}

impl Spare {
    /// Whether it still runs and can be reached, and has read its host's names as they are now: the machine may be in
    /// another network than when it was started.
    fn serves(&self, now: &Versions) -> bool {
        self.read == *now && !self.held.has_ended() && self.folder.file(PROXY).exists()
    }

    /// Which process it is.
    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    /// Has it enforce for this sandbox. One that does not is killed.
    pub(crate) async fn attach(
        self,
        sandbox: &Folder,
        config: ProxyConfig,
        descriptors: &[OwnedFd],
    ) -> Result<(), AttachError> {
        let moved = fs::rename(self.folder.file(PROXY), sandbox.file(PROXY));
        let _ = self.folder.remove();
        let enforcing = match moved {
            Ok(()) => configure(sandbox, config, descriptors).await,
            Err(e) => Err(AttachError::Io("cannot give the proxy its socket", e)),
        };
        if enforcing.is_err() {
            let _ = self.held.kill();
        }
        enforcing
    }
}

async fn configure(
    sandbox: &Folder,
    config: ProxyConfig,
    descriptors: &[OwnedFd],
) -> Result<(), AttachError> {
    let reach = |e| AttachError::Io("cannot reach the sandbox's proxy", e);
    let mut link = sandbox.connect(PROXY).map_err(reach)?;
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let request = ProxyRequest::Configure(Box::new(config));
    let exchange = wire::hand_over(&mut link, &request, &borrowed);
    let answer = tokio::time::timeout(wire::PATIENCE, exchange).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(reach)?.0 {
        ProxyReply::Enforcing { .. } => Ok(()),
        ProxyReply::Failed(failure) => Err(AttachError::Refused(failure)),
        ProxyReply::Status(_) | ProxyReply::Rejected(_) | ProxyReply::Done => {
            Err(reach(io::ErrorKind::InvalidData.into()))
        }
    }
}

impl Drop for Proxies {
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
        let proxies = Proxies::new(Path::new("/bin/true"), runtime.path());
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

    #[tokio::test]
    async fn one_that_has_read_other_names_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let runtime = tempfile::tempdir().unwrap();
        let program = runtime.path().join("program");
        fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let proxies = Proxies::new(&program, &runtime.path().join("run"));
        proxies.refill().unwrap();
        let waits = proxies.next.lock().unwrap().spare.as_ref().unwrap().id();
        let taken = proxies.take().unwrap();
        assert_eq!(taken.id(), waits);
        let mut old = taken;
        old.read = [None, None];
        proxies.next.lock().unwrap().spare = Some(old);
        let taken = proxies.take().unwrap();
        assert_ne!(taken.id(), waits);
        let has_ended = || waits.hold().is_none_or(|held| held.has_ended());
        while !has_ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = taken.held.kill();
    }
}
