//! The first process of a sidecar: holds what the driver holds on the host, and serves the gateway's connections. It
//! goes on without a gateway, as supervisor and proxy do; with its end the sandbox has no way out.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use chiton_api::{
    control::{Failure, ProxyConfig},
    frame,
};
use chiton_driver::DriverError;
use chiton_driver_host::{Folder, Local, Proxies, wire};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
};
use zeroize::Zeroizing;

use super::{Begin, Follow, Reply, Request, SOCKET, TMP, Until, files::Files};
use crate::hand_over::HandOver;

/// The sandbox's sockets and files.
pub(super) const FOLDER: &str = "sandbox";

/// What it holds.
struct Sidecar {
    folder: Folder,
    proxies: Arc<Proxies>,
    /// Once it has begun.
    local: OnceLock<Local>,
}

pub(super) fn run() -> io::Result<()> {
    chiton_sys::process::set_undumpable()?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    chiton_sys::process::set_umask(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let folder = Folder::at(Path::new(TMP).join(FOLDER));
    folder.make()?;
    let listener = folder.listen(SOCKET)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let proxies = Proxies::ahead(Path::new("/proc/self/exe"), Path::new(TMP));
    let sidecar = Arc::new(Sidecar { folder, proxies, local: OnceLock::new() });
    loop {
        let (link, _) = listener.accept().await?;
        let sidecar = Arc::clone(&sidecar);
        tokio::spawn(async move { sidecar.converse(link).await });
    }
}

impl Sidecar {
    /// One request. Where nothing can be said any more nobody listens.
    async fn converse(&self, mut link: UnixStream) -> io::Result<()> {
        let done = match receive(&mut link).await? {
            Request::Begin(begin) => self.begin(&mut link, begin).await,
            Request::Attach(config) => self.attach(*config).await,
            Request::Follow(follow) => return self.follow(link, follow).await,
        };
        let reply = match done {
            Ok(()) => Reply::Done,
            Err(DriverError::Failed(failure)) => Reply::Failed(failure),
            Err(DriverError::Unsupported(differs)) => Reply::NotAsOrdered(differs),
            Err(error) => Reply::Failed(Failure { message: error.to_string(), status: 125 }),
        };
        wire::send(&mut link, &reply, &[]).await
    }

    async fn begin(&self, link: &mut UnixStream, begin: Begin) -> Result<(), DriverError> {
        let io = |doing| move |source| DriverError::Io { doing, source };
        let local = Local::new(begin.id, self.folder.clone(), Arc::clone(&self.proxies));
        let taken = Files::at(local.files()).receive_events(begin.have, link).await;
        taken.map_err(io("cannot take what the files hold already"))?;
        let papers = local.papers()?;
        // It begins once: another finds the files there.
        let _ = self.local.set(local);
        let hand_over = HandOver::within(begin.hand_over).map_err(io("cannot listen for the supervisor"))?;
        let told = wire::send(link, &Reply::Listening, &[]).await;
        told.map_err(io("cannot talk to the gateway"))?;
        hand_over.give_beside(&papers).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => DriverError::Unsupported(error.to_string()),
            _ => io("the supervisor did not take what it is given")(error),
        })
    }

    async fn attach(&self, config: ProxyConfig) -> Result<(), DriverError> {
        match self.local.get() {
            Some(local) => local.attach(config).await,
            None => Err(DriverError::Io {
                doing: "cannot start a proxy for a sandbox that has not begun",
                source: io::ErrorKind::NotConnected.into(),
            }),
        }
    }

    async fn follow(&self, mut link: UnixStream, follow: Follow) -> io::Result<()> {
        let Some(local) = self.local.get() else { return Ok(()) };
        if follow.until == Until::Ended {
            // What it wrote is sent whether or not it ends in time.
            let _ = local.end_proxy().await;
        }
        let (mut from, mut to) = link.split();
        let files = Files::at(local.files());
        tokio::select! {
            sent = files.send(follow.have, &mut to, follow.until != Until::Gone) => sent,
            _ = from.read_u8() => Ok(()),
        }
    }
}

/// A message, which may hold credentials.
async fn receive(link: &mut UnixStream) -> io::Result<Request> {
    let mut length = [0; 4];
    link.read_exact(&mut length).await?;
    let mut bytes = Zeroizing::new(vec![0; frame::checked_len(length)?]);
    link.read_exact(&mut bytes).await?;
    frame::decode(&bytes)
}
