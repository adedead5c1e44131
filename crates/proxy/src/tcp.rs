//! A connection that nobody looks into: judged by name, port and owner before a byte is read, then carried both ways.
//!
//! The server may speak first. Either side may end its half and go on reading. There is no idle limit: a database
//! session may be silent for days; the kernel's keepalive finds an end that is gone. Each direction holds one
//! buffer and reads no further before that is written, so a slow reader slows the writer and costs no memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use chiton_policy::{ConnectIntent, ConnectPermit, Denial, Host, Port, Reason};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::{either::Either, sync::CancellationToken};

use crate::{
    accept::{Refused, Target},
    agent::AgentStream,
    hello::First,
    limits,
    state::Proxy,
    upstream::{
        dial::DialError,
        via::Tunnel,
        wire::{keep_alive, socket},
    },
};

/// Serves a connection of which `first` was read already. A refused one is reset: no name is resolved for it.
pub(crate) async fn serve(
    stream: AgentStream,
    first: First,
    target: &Target,
    proxy: &Arc<Proxy>,
    cut: &CancellationToken,
) {
    let Some(port) = Port::new(target.port) else { return stream.reset() };
    let intent = ConnectIntent::new(target.host.clone(), port);
    carried(owned(intent, target, proxy).await, stream, first, proxy, cut).await;
}

/// The same for TLS that a rule passes through: its `ClientHello` must ask for the very name that it goes to, and is
/// sent on as it came.
pub(crate) async fn serve_tls(
    stream: AgentStream,
    hello: First,
    target: &Target,
    proxy: &Arc<Proxy>,
    cut: &CancellationToken,
) {
    let Some(port) = Port::new(target.port) else { return stream.reset() };
    let is_asked_for = match (&target.host, Asked::of(hello.bytes())) {
        (Host::Name(_), Asked::Name(name)) => Host::parse(&name).is_ok_and(|name| name == target.host),
        // An address has no server name (RFC 6066, 3).
        (Host::Ip(_), Asked::Nameless) => true,
        (Host::Name(_), Asked::Nameless) | (Host::Ip(_), Asked::Name(_)) | (_, Asked::Unreadable) => false,
    };
    if !is_asked_for {
        proxy.events.refused_connection(target, Refused::OtherName);
        return stream.reset();
    }
    let intent = ConnectIntent::tls(target.host.clone(), port);
    carried(owned(intent, target, proxy).await, stream, hello, proxy, cut).await;
}

/// With who asks, where a rule wants to know. A revision that comes meanwhile and has more names for the same
/// executable, or asks for the first time, refuses it.
async fn owned(intent: ConnectIntent, target: &Target, proxy: &Proxy) -> ConnectIntent {
    let revision = proxy.running.revision();
    intent.by(proxy.who_asks(target, &revision).await)
}

/// What a whole `ClientHello` asks for, as rustls reads it.
enum Asked {
    /// This server name.
    Name(String),
    /// Whatever server there is.
    Nameless,
    /// Nobody can tell: it may hold a name, which another reader sees.
    Unreadable,
}

impl Asked {
    fn of(mut hello: &[u8]) -> Self {
        let mut acceptor = rustls::server::Acceptor::default();
        // Little is read at once, and more than one record only when what came was looked at.
        while let Ok(1..) = acceptor.read_tls(&mut hello) {
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    return name.map_or(Self::Nameless, Self::Name);
                }
                Err(_) => return Self::Unreadable,
            }
        }
        Self::Unreadable
    }
}

async fn carried(
    intent: ConnectIntent,
    stream: AgentStream,
    first: First,
    proxy: &Arc<Proxy>,
    cut: &CancellationToken,
) {
    let (permit, place) = match proxy.running.admit_connection(&intent, cut) {
        Ok(admitted) => admitted,
        Err((denial, revision)) => {
            proxy.events.connection_denied(&intent, &denial, revision, None);
            return stream.reset();
        }
    };
    if proxy.events.connecting(&permit).is_err() {
        return stream.reset();
    }
    // Dropped before the place, also when the whole task is: the end is written when an apply returns.
    let passed = Passed { proxy, permit: &permit, began: Instant::now(), sent: 0.into(), bytes: 0.into() };
    let mut stream = stream;
    let ended = tokio::select! {
        biased;
        () = place.over().cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
        ended = carry(&mut stream, first, &passed) => ended,
    };
    if ended.is_err() {
        stream.reset();
    }
}

/// A running connection's figures; what they come to is written at its end.
struct Passed<'a> {
    proxy: &'a Proxy,
    permit: &'a ConnectPermit,
    began: Instant,
    sent: AtomicU64,
    bytes: AtomicU64,
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        let (sent, bytes) = (self.sent.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        self.proxy.events.disconnected(self.permit, sent, bytes, self.began.elapsed());
    }
}

/// Dials, and carries both ways until both have ended. After an error neither end may take what came for the whole.
async fn carry(stream: &mut AgentStream, first: First, passed: &Passed<'_>) -> io::Result<()> {
    let Tunnel { wire: mut upstream, first: greeting } = dial(passed).await?;
    // Whatever ends this early resets the server's side.
    socket(&upstream).set_zero_linger()?;
    keep_alive(stream)?;
    let ends = Begun { stream, first, greeting };
    match &mut upstream {
        Either::Left(tcp) => both_ways(ends, tcp.split(), passed).await?,
        Either::Right(tls) => both_ways(ends, tokio::io::split(tls), passed).await?,
    }
    sockopt::set_socket_linger(socket(&upstream), None)?;
    Ok(())
}

/// The agent's side, and what either side has said already.
struct Begun<'a> {
    stream: &'a mut AgentStream,
    first: First,
    greeting: Bytes,
}

async fn both_ways(
    begun: Begun<'_>,
    (from_server, mut to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    passed: &Passed<'_>,
) -> io::Result<()> {
    let Begun { stream, first, greeting } = begun;
    let (from_agent, mut to_agent) = stream.split();
    to_server.write_all(first.bytes()).await?;
    to_server.flush().await?;
    passed.sent.fetch_add(first.bytes().len() as u64, Ordering::Relaxed);
    to_agent.write_all(&greeting).await?;
    passed.bytes.fetch_add(greeting.len() as u64, Ordering::Relaxed);
    drop((first, greeting));
    tokio::try_join!(
        one_way(from_agent, to_server, &passed.sent),
        one_way(from_server, to_agent, &passed.bytes)
    )?;
    Ok(())
}

async fn dial(passed: &Passed<'_>) -> io::Result<Tunnel> {
    passed.proxy.upstream.dialler.dial_tcp(passed.permit).await.map_err(|error| {
        let denied = match &error {
            DialError::PrivateAddress { .. } | DialError::PrivateName { .. } | DialError::Closed { .. } => {
                Some((Reason::PrivateAddress, None))
            }
            DialError::Via { why, .. } => Some((Reason::UpstreamProxy, why.status())),
            // The end is written with no bytes.
            DialError::Resolve(_) | DialError::Connect { .. } | DialError::Tls { .. } => None,
        };
        if let Some((reason, answered)) = denied {
            let denial = Denial::of_connection(reason, error.to_string());
            let (intent, revision) = (passed.permit.intent(), passed.permit.revision());
            passed.proxy.events.connection_denied(intent, &denial, revision, answered);
        }
        io::Error::other(error)
    })
}

/// Until the reader's end, which is then told to the other side.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(limits::TCP_BUFFER);
    while from.read_buf(&mut buffer).await? > 0 {
        to.write_all(&buffer).await?;
        to.flush().await?;
        passed.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        buffer.clear();
    }
    to.shutdown().await
}
