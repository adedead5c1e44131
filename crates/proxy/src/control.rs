//! The control link: configuration, revisions, the end.
//!
//! `Configure` comes first and once, with descriptors; each request gets one reply, in order. Whoever is not of our
//! own user is turned away.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use chiton_api::{
    control::{Failure, ProxyConfig, ProxyReply, ProxyRequest, ProxyStatus, Revised},
    frame,
};
use chiton_audit::{Event, Spool};
use chiton_llm::PriceRows;
use chiton_tls::{Authority, Roots, SystemRoots};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{UnixListener, UnixStream},
    sync::{Mutex, Notify},
};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    dns::names::{DnsName, parse_name},
    events::STAND_IN,
    listeners::{Listening, Sockets},
    owners::Owners,
    revision::{Revision, RevisionError},
    spend::Past,
    state::{Parts, Proxy},
    upstream::{resolve::SystemNames, trust::Trust},
};

/// How often kept connections to servers are looked through.
const PRUNE: Duration = Duration::from_secs(30);

/// What was read before the proxy gave up its files.
pub(crate) struct System {
    /// The system's roots.
    pub(crate) roots: SystemRoots,
    /// The host's names.
    pub(crate) names: SystemNames,
}

/// Before and after `Configure`.
enum Stage {
    Waiting(Option<Box<System>>),
    Serving { proxy: Arc<Proxy>, _listening: Listening },
}

/// The control side of the process.
pub(crate) struct Control {
    stage: Mutex<Stage>,
    end: Notify,
    /// A socket of the sandbox is served no more: the process ends, and with it the sandbox's network.
    broken: Arc<Notify>,
}

/// One reply, and whether the process ends after it.
struct Answer {
    reply: ProxyReply,
    end: bool,
}

impl Control {
    /// Waits for `Configure`.
    pub(crate) fn new(system: System) -> Arc<Self> {
        Arc::new(Self {
            stage: Mutex::new(Stage::Waiting(Some(Box::new(system)))),
            end: Notify::new(),
            broken: Arc::default(),
        })
    }

    /// Serves the link until `Shutdown`, or until nobody is left who could configure it, as `gateway` tells.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        gateway: UnixStream,
    ) -> io::Result<()> {
        let mut prune = tokio::time::interval(PRUNE);
        let mut left = pin!(gone(&gateway));
        let mut waits = true;
        loop {
            tokio::select! {
                () = self.end.notified() => return Ok(()),
                () = self.broken.notified() => return Err(io::ErrorKind::BrokenPipe.into()),
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    if is_own(&stream) {
                        tokio::spawn(self.clone().converse(stream));
                    }
                }
                () = &mut left, if waits => match &*self.stage.lock().await {
                    // Who waits for a sandbox goes with the gateway.
                    Stage::Waiting(_) => return Ok(()),
                    Stage::Serving { .. } => waits = false,
                },
                _ = prune.tick() => {
                    if let Stage::Serving { proxy, .. } = &*self.stage.lock().await {
                        proxy.upstream.pool.prune();
                    }
                }
            }
        }
    }

    /// What was deferred is written: the process ends.
    pub(crate) async fn write_last_events(&self) {
        if let Stage::Serving { proxy, .. } = &*self.stage.lock().await {
            let _ = proxy.events.flush();
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let mut link = Link { stream, bytes: Zeroizing::default(), descriptors: Vec::new() };
        while let Ok(Some(request)) = link.receive().await {
            let descriptors = std::mem::take(&mut link.descriptors);
            let waits = matches!(request, ProxyRequest::AwaitRejected);
            let Answer { reply, end } = tokio::select! {
                answer = self.answer(request, descriptors) => answer,
                // Nobody asks before the answer: whoever waited is gone, and takes no answer from who comes next.
                () = gone(&link.stream), if waits => return,
            };
            let sent = link.send(&reply).await;
            if end {
                self.end.notify_one();
                return;
            }
            if sent.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, request: ProxyRequest, descriptors: Vec<OwnedFd>) -> Answer {
        let reply = match request {
            ProxyRequest::Configure(config) => self.configure(*config, descriptors).await,
            ProxyRequest::Apply(revised) => self.apply(*revised, newer).await,
            ProxyRequest::Refresh(revised) => self.apply(*revised, refreshed).await,
            ProxyRequest::Names => self.names(descriptors).await,
            ProxyRequest::AwaitRejected => self.rejected().await,
            ProxyRequest::Status => self.status().await,
            ProxyRequest::Shutdown => return Answer { reply: ProxyReply::Done, end: true },
        };
        Answer { reply, end: false }
    }

    async fn configure(&self, config: ProxyConfig, descriptors: Vec<OwnedFd>) -> ProxyReply {
        let mut stage = self.stage.lock().await;
        let Stage::Waiting(system) = &mut *stage else {
            return failed("the proxy is configured already: `Configure` comes once");
        };
        let Some(system) = system.take() else {
            return failed("an earlier `Configure` failed: start another proxy");
        };
        let number = config.revised.revision;
        match begin(config, descriptors, *system, &self.broken) {
            Ok((proxy, listening)) => {
                *stage = Stage::Serving { proxy, _listening: listening };
                ProxyReply::Enforcing { revision: number, cut: 0 }
            }
            Err(error) => failed(&error.to_string()),
        }
    }

    async fn apply(&self, revised: Revised, build: Build) -> ProxyReply {
        let stage = self.stage.lock().await;
        let Stage::Serving { proxy, .. } = &*stage else {
            return failed("the proxy is not configured yet");
        };
        match build(revised, proxy) {
            Ok(revision) => {
                let number = revision.number;
                ProxyReply::Enforcing { revision: number, cut: proxy.apply(revision).await }
            }
            Err(error) => failed(&error.to_string()),
        }
    }

    async fn names(&self, descriptors: Vec<OwnedFd>) -> ProxyReply {
        let stage = self.stage.lock().await;
        let Stage::Serving { proxy, .. } = &*stage else {
            return failed("the proxy is not configured yet");
        };
        let Ok(files) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return failed("`Names` comes with two files");
        };
        proxy.upstream.dialler.resolver.follow(SystemNames::of(files.map(|file| Some(File::from(file)))));
        ProxyReply::Done
    }

    async fn rejected(&self) -> ProxyReply {
        let proxy = match &*self.stage.lock().await {
            Stage::Waiting(_) => return failed("the proxy is not configured yet"),
            Stage::Serving { proxy, .. } => Arc::clone(proxy),
        };
        ProxyReply::Rejected(proxy.running.rejected().await)
    }

    async fn status(&self) -> ProxyReply {
        ProxyReply::Status(match &*self.stage.lock().await {
            Stage::Waiting(_) => ProxyStatus { revision: None, connections: 0, denied: 0 },
            Stage::Serving { proxy, .. } => ProxyStatus {
                revision: Some(proxy.running.revision().number),
                connections: proxy.connections(),
                denied: proxy.events.denied_so_far(),
            },
        })
    }
}

type Build = fn(Revised, &Proxy) -> Result<Revision, RevisionError>;

fn refreshed(revised: Revised, proxy: &Proxy) -> Result<Revision, RevisionError> {
    Revision::refreshed(revised, &proxy.running.revision())
}

fn newer(revised: Revised, proxy: &Proxy) -> Result<Revision, RevisionError> {
    let current = proxy.running.revision().number;
    if revised.revision <= current {
        return Err(RevisionError::NotNewer { offered: revised.revision, current });
    }
    Revision::build(revised)
}

fn failed(message: &str) -> ProxyReply {
    ProxyReply::Failed(Failure { message: message.to_owned(), status: 125 })
}

/// Resolves when the other end has gone, or says something.
async fn gone(stream: &UnixStream) {
    let peek = || {
        let mut byte = [0; 1];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        rustix::net::recv(stream, &mut byte, flags).map_err(io::Error::from)
    };
    while stream.readable().await.is_ok() {
        // That it may be readable is remembered from the last message; only this tells.
        match stream.try_io(Interest::READABLE, peek) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    chiton_sys::socket::peer_credentials(stream).is_ok_and(|peer| peer.uid == own)
}

/// Makes the proxy and begins to accept.
fn begin(
    config: ProxyConfig,
    descriptors: Vec<OwnedFd>,
    system: System,
    broken: &Arc<Notify>,
) -> Result<(Arc<Proxy>, Listening), Box<dyn std::error::Error>> {
    let sockets = Sockets::from_descriptors(config.listeners, descriptors)?;
    let Resumed { names, past, sink } = resume(File::from(sockets.events))?;
    let proxy = Proxy::new(Parts {
        sandbox: config.sandbox,
        authority: Authority::from_pem(&config.authority.certificate, &config.authority.key)?,
        sink: Box::new(sink),
        names,
        revision: Revision::build(config.revised)?,
        trust: Trust::new(system.roots, Roots::of(&config.upstream.extra_ca)?)?,
        system: system.names,
        resolve: config.upstream.resolve,
        forward: config.upstream.forward,
        // An entry that is none opens nothing; the gateway has refused it.
        opened: config.upstream.llm_allow.iter().filter_map(|url| url.parse().ok()).collect(),
        owners: Owners::new(sockets.owners)?,
        prices: prices(&config.upstream.llm_prices)?,
        past,
    })?;
    let listening = Listening::begin(sockets.open, &proxy, broken)?;
    Ok((proxy, listening))
}

/// `[llm.prices]`, which the gateway has read; none where that says nothing.
fn prices(text: &str) -> Result<PriceRows, serde_json::Error> {
    if text.is_empty() { Ok(PriceRows::default()) } else { serde_json::from_str(text) }
}

/// What an event file tells of the proxies before.
pub(crate) struct Resumed {
    /// The names that have stand-ins already, in order.
    names: Vec<DnsName>,
    /// What was spent.
    pub(crate) past: Past,
    /// The place to write.
    sink: Spool,
}

/// Goes on with an event file.
pub(crate) fn resume(mut file: File) -> Result<Resumed, Box<dyn std::error::Error>> {
    file.rewind()?;
    let (mut names, mut past) = (Vec::new(), Past::new());
    for line in BufReader::new(&file).split(b'\n') {
        let line = line?;
        let Ok(line) = std::str::from_utf8(&line) else { continue };
        if !line.contains(STAND_IN) && !Past::may_tell(line) {
            continue;
        }
        let Ok(linked) = Event::parse(line) else { continue };
        past.take(&linked.event);
        let host = linked.event.request.and_then(|request| request.host);
        if linked.event.action.as_str() == STAND_IN {
            names.extend(host.as_deref().and_then(parse_name));
        }
    }
    Ok(Resumed { names, past, sink: Spool::resume(file)? })
}

/// One connection of the link.
struct Link {
    stream: UnixStream,
    /// Messages hold credentials: what was read of one is wiped.
    bytes: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

impl Link {
    /// The next message; none at the end.
    async fn receive(&mut self) -> io::Result<Option<ProxyRequest>> {
        loop {
            if let Some(length) = self.bytes.first_chunk::<4>() {
                let end = 4 + frame::checked_len(*length)?;
                if let Some(message) = self.bytes.get(4..end) {
                    let request = frame::decode(message)?;
                    // One request is under way at a time: what follows is no protocol of ours.
                    if self.bytes.len() != end {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    self.bytes.zeroize();
                    return Ok(Some(request));
                }
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut buffer = Zeroizing::new(vec![0; 16 << 10]);
        let (read, descriptors) = self
            .stream
            .async_io(Interest::READABLE, || {
                chiton_sys::descriptors::receive(self.stream.as_fd(), &mut buffer).map_err(io::Error::from)
            })
            .await?;
        self.descriptors.extend(descriptors);
        let part = buffer.get(..read).unwrap_or_default();
        // Room for the whole message at once, so that no copy of a part stays behind.
        if self.bytes.len() < 4 {
            let length: Vec<u8> = self.bytes.iter().chain(part).take(4).copied().collect();
            let whole = length.first_chunk::<4>().map_or(Ok(0), |length| frame::checked_len(*length))?;
            self.bytes.reserve_exact(part.len().max(4 + whole));
        }
        self.bytes.extend_from_slice(part);
        Ok(read)
    }

    async fn send(&mut self, reply: &ProxyReply) -> io::Result<()> {
        self.stream.write_all(&frame::encode(reply)?).await
    }
}
