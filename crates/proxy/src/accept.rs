//! One captured connection: its first bytes decide what it is, then HTTP begins.
//!
//! TLS is completed for every host, refused ones too, so that the agent can read why. What is neither TLS nor
//! HTTP is reset.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use chiton_policy::{Host, Mode, Port, Scheme};
use chiton_tls::Offered;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::AgentStream,
    capture::Arrived,
    dns::names::is_stand_in,
    hello::{Crowded, First, FirstBytes},
    http1::{self, connection::Tunnel},
    http2, limits,
    memory::HTTP2_CONNECTIONS,
    owners::Connection,
    service::{Arrival, Service},
    state::Proxy,
    stream::writes_through,
    tcp,
};

/// A byte stream of the agent that can be reset.
pub(crate) trait Downstream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends it so that the agent sees that something is missing.
    fn abort(self);
}

impl Downstream for AgentStream {
    fn abort(self) {
        self.reset();
    }
}

impl Downstream for Box<TlsStream<Begun>> {
    fn abort(self) {
        let (Begun { stream, .. }, _) = (*self).into_inner();
        stream.reset();
    }
}

/// A connection of which the first bytes were read already; they are read again first.
#[derive(Debug)]
pub(crate) struct Begun {
    first: First,
    stream: AgentStream,
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.bytes().is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, to);
        }
        this.first.move_into(to);
        Poll::Ready(Ok(()))
    }
}

writes_through!(impl [] Begun => stream);

/// Serves one captured connection until it ends or is cut.
pub(crate) async fn serve(stream: TcpStream, arrived: Arrived, proxy: Arc<Proxy>) {
    let _open = proxy.count_connection();
    let cut = CancellationToken::new();
    let mut serving = pin!(serve_uncut(AgentStream::new(stream, cut.clone()), arrived, proxy, &cut));
    tokio::select! {
        biased;
        // What is dropped here resets the connection.
        () = cut.cancelled() => {}
        () = &mut serving => {}
    }
}

async fn serve_uncut(stream: AgentStream, arrived: Arrived, proxy: Arc<Proxy>, cut: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let Arrived { to, ends } = arrived;
    let Some(target) = Target::of(to, &proxy, Arc::new(Connection::new(ends))) else {
        proxy.events.unknown_destination(to);
        return stream.reset();
    };
    let first = First::of(BytesMut::with_capacity(2 << 10));
    if let Some(tunnel) = serve_target(stream, first, target, proxy.clone(), cut, true).await {
        // As if the agent had connected there by itself. A tunnel leads into no other.
        let Tunnel { stream, begun, target } = tunnel;
        serve_target(stream, First::of(begun), target, proxy, cut, false).await;
    }
}

/// Serves a connection to a target, of which these bytes were read already. Returns what it is to be instead, where
/// `may_be_proxy`.
async fn serve_target(
    mut stream: AgentStream,
    mut first: First,
    target: Target,
    proxy: Arc<Proxy>,
    cut: &CancellationToken,
    may_be_proxy: bool,
) -> Option<Tunnel<AgentStream>> {
    let is_tcp = |port| proxy.running.revision().compiled.is_tcp(&target.host, port);
    if Port::new(target.port).is_some_and(is_tcp) {
        Box::pin(tcp::serve(stream, first, &target, &proxy, cut)).await;
        return None;
    }
    let silence = if matches!(target.port, 80 | 443) { limits::FIRST_BYTES } else { limits::SILENCE };
    let read = match first.read(&mut *stream, silence).await {
        Ok(read) => read,
        Err(Crowded) => {
            proxy.events.refused_connection(&target, Refused::TooMuch);
            stream.reset();
            return None;
        }
    };
    match read {
        FirstBytes::Tls { encrypted_name: false } if passes_through(&proxy, &target) => {
            Box::pin(tcp::serve_tls(stream, first, &target, &proxy, cut)).await;
        }
        FirstBytes::Tls { encrypted_name: false } => {
            serve_tls(Begun { first, stream }, target, proxy, cut).await;
        }
        FirstBytes::Tls { encrypted_name: true } => {
            proxy.events.refused_connection(&target, Refused::EncryptedName);
            stream.reset();
        }
        FirstBytes::Http if first.bytes().starts_with(b"PRI ") => {
            let Some(_place) = HTTP2_CONNECTIONS.try_place() else {
                proxy.events.refused_connection(&target, Refused::TooMuch);
                stream.reset();
                return None;
            };
            let arrival = Arrival { target, scheme: Scheme::Http, server_name: None };
            let service = Service::new(proxy, arrival, cut.clone());
            Box::pin(http2::serve(Begun { first, stream }, service)).await;
        }
        FirstBytes::Http => {
            let arrival = Arrival { target, scheme: Scheme::Http, server_name: None };
            let service = Service::new(proxy, arrival, cut.clone());
            let service = if may_be_proxy { service.maybe_to_proxy() } else { service };
            return http1::connection::serve(stream, first.into_bytes(), Arc::new(service)).await;
        }
        // What would be refused passes, and is written: also what is no HTTP.
        FirstBytes::Neither if proxy.running.revision().compiled.mode() == Mode::Audit => {
            Box::pin(tcp::serve(stream, first, &target, &proxy, cut)).await;
        }
        FirstBytes::Neither => {
            let known = proxy.running.revision().compiled.could_allow(&target.host);
            let why = if known { Refused::NoProtocol } else { Refused::UnknownHost };
            proxy.events.refused_connection(&target, why);
            stream.reset();
        }
        // The agent left before it said anything.
        FirstBytes::More => stream.reset(),
    }
    None
}

fn passes_through(proxy: &Proxy, target: &Target) -> bool {
    let revision = proxy.running.revision();
    Port::new(target.port).is_some_and(|port| revision.compiled.passes_through(&target.host, port))
}

/// Why a connection ends before any request, or for one that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It hides the server's name.
    EncryptedName,
    /// Its TLS, which is to be passed through, asks for another name than the one it goes to, for none, or for what
    /// cannot be read.
    OtherName,
    /// It is neither TLS nor HTTP.
    NoProtocol,
    /// The same, and no rule names the host.
    UnknownHost,
    /// The agent's program did not accept our leaf, or its TLS is broken.
    Handshake,
    /// A head or a body that cannot be read.
    Malformed,
    /// A head over its limits.
    TooLarge,
    /// A handshake or a head that does not end in time.
    TooSlow,
    /// More streams, requests or connections at once than there may be.
    TooMuch,
}

/// What a connection was going to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The name that the address stands for, or the address.
    pub(crate) host: Host,
    /// The port.
    pub(crate) port: u16,
    /// The connection itself.
    pub(crate) connection: Arc<Connection>,
}

impl Target {
    /// None for an address of the stand-in ranges that was never given to a name.
    pub(crate) fn of(to: SocketAddr, proxy: &Proxy, connection: Arc<Connection>) -> Option<Self> {
        let address: IpAddr = to.ip().to_canonical();
        let host = match proxy.names.name_of(address) {
            Some(name) => Host::Name(name),
            None if is_stand_in(address) => return None,
            None => Host::Ip(address),
        };
        Some(Self { host, port: to.port(), connection })
    }
}

async fn serve_tls(stream: Begun, target: Target, proxy: Arc<Proxy>, cut: &CancellationToken) {
    // Where there is no place for one more connection of HTTP/2, the older protocol alone is offered.
    let place = HTTP2_CONNECTIONS.try_place();
    let handshake =
        Box::pin(timeout(limits::FIRST_BYTES, handshake(stream, &target, &proxy, place.is_some())));
    let (stream, server_name) = match handshake.await {
        Ok(Ok(established)) => established,
        Ok(Err(error)) => {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                proxy.events.refused_connection(&target, Refused::Handshake);
            }
            return;
        }
        Err(_) => return proxy.events.refused_connection(&target, Refused::TooSlow),
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = Service::new(proxy, Arrival { target, scheme: Scheme::Https, server_name }, cut.clone());
    if h2 {
        Box::pin(http2::serve(stream, service)).await;
    } else {
        drop(place);
        Box::pin(http1::connection::serve(stream, BytesMut::new(), Arc::new(service))).await;
    }
}

/// Ends the agent's TLS, and says which server it named.
async fn handshake(
    stream: Begun,
    target: &Target,
    proxy: &Proxy,
    http2: bool,
) -> io::Result<(Box<TlsStream<Begun>>, Option<String>)> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let server_name = start.client_hello().server_name().map(str::to_owned);
    let nameless = match &target.host {
        Host::Name(name) => name.as_str().to_owned(),
        Host::Ip(address) => address.to_string(),
    };
    let offered = if http2 { Offered::Http2OrHttp1 } else { Offered::Http1 };
    let stream = start.into_stream(proxy.terminator.config(Some(&nameless), offered)).await?;
    Ok((Box::new(stream), server_name))
}
