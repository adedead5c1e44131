//! An HTTP server on loopback: HTTP/1.1 and HTTP/2, over TLS or plain.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    ca::TestCa,
    log::{Log, Seen},
    loopback::Loopback,
    routes::Router,
};

/// A body that is sent.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub type Answer = Response<Body>;
/// What answers a request.
pub type Handler = Arc<dyn Fn(Received) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A request as a route sees it.
#[derive(Debug)]
pub struct Received {
    /// As it was recorded.
    pub seen: Seen,
    /// Path without the query.
    pub path: String,
    /// The request with its body.
    pub request: Request<Incoming>,
    index: usize,
    log: Log,
}

impl Received {
    /// The value of a query parameter, as written.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.seen.target.split_once('?')?.1;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
    }

    /// A number of the query.
    #[must_use]
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.query(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// The whole body, which is recorded.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(frame) = self.request.body_mut().frame().await {
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.log.record_body(self.index, &data);
                        whole.extend_from_slice(&data);
                    }
                }
                Err(_) => {
                    self.log.record_abort();
                    break;
                }
            }
        }
        whole
    }

    /// Adds to the body that is recorded of this request.
    pub fn record(&self, bytes: &[u8]) {
        self.log.record_body(self.index, bytes);
    }

    /// Reads the body to its end without keeping it, and counts.
    pub async fn drain(&mut self) -> u64 {
        let mut count = 0;
        while let Some(frame) = self.request.body_mut().frame().await {
            match frame {
                Ok(frame) => count += frame.data_ref().map_or(0, |data| data.len() as u64),
                Err(_) => {
                    self.log.record_abort();
                    break;
                }
            }
        }
        count
    }
}

/// A whole body.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An answer with a body of a type.
///
/// # Panics
/// For what is no status or header.
#[must_use]
pub fn answer(status: u16, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let builder = Response::builder().status(status).header("content-type", content_type);
    builder.body(full(bytes)).expect("an answer")
}

/// A JSON answer.
#[must_use]
pub fn json(status: u16, value: &serde_json::Value) -> Answer {
    answer(status, "application/json", value.to_string())
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    loopback: Loopback,
    log: Log,
}

impl Upstream {
    /// HTTPS, HTTP/2 preferred, for these names.
    #[must_use]
    pub fn tls(ca: &TestCa, names: &[&str], router: Router) -> Self {
        Self::tls_of_streams(ca, names, 2000, router)
    }

    /// The same, of so many streams at once on a connection.
    #[must_use]
    pub fn tls_of_streams(ca: &TestCa, names: &[&str], most: u32, router: Router) -> Self {
        Self::start(Some(ca.server_config(names, &["h2", "http/1.1"])), most, router)
    }

    /// HTTPS that speaks HTTP/1.1 only.
    #[must_use]
    pub fn tls_http1(ca: &TestCa, names: &[&str], router: Router) -> Self {
        Self::start(Some(ca.server_config(names, &["http/1.1"])), 0, router)
    }

    /// Plain HTTP.
    #[must_use]
    pub fn plain(router: Router) -> Self {
        Self::start(None, 2000, router)
    }

    fn start(tls: Option<Arc<ServerConfig>>, streams: u32, router: Router) -> Self {
        let log = Log::default();
        let seen = log.clone();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2);
        let served =
            Served { tls: tls.map(TlsAcceptor::from), streams, handler: router.handler(), log: seen };
        let serve = move |listener| accept(listener, served);
        Self { loopback: Loopback::start(runtime, serve), log }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.loopback.address()
    }

    /// What it saw.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.log.requests()
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Served {
    tls: Option<TlsAcceptor>,
    streams: u32,
    handler: Handler,
    log: Log,
}

async fn accept(listener: TcpListener, served: Served) {
    while let Ok((stream, _)) = listener.accept().await {
        served.log.connected();
        tokio::spawn(connection(stream, served.clone()));
    }
}

async fn connection(stream: TcpStream, served: Served) {
    let _ = stream.set_nodelay(true);
    match &served.tls {
        None => serve(stream, None, served).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                let sni = stream.get_ref().1.server_name().map(str::to_owned);
                serve(stream, sni, served).await;
            }
        }
    }
}

async fn serve<S>(stream: S, sni: Option<String>, served: Served)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Served { streams, handler, log, .. } = served;
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = describe(&request, sni.clone());
        let path = request.uri().path().to_owned();
        let index = log.record(seen.clone());
        let received = Received { seen, path, request, index, log: log.clone() };
        let answering = handler(received);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams);
    // A peer that resets is the peer's business.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

fn describe(request: &Request<Incoming>, sni: Option<String>) -> Seen {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let host = headers.iter().find(|(n, _)| n == "host").map(|(_, value)| value.clone());
    let authority = request.uri().authority().map(ToString::to_string);
    Seen {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: authority.or(host).unwrap_or_default(),
        headers,
        sni,
        protocol: format!("{:?}", request.version()),
        body: Vec::new(),
    }
}
