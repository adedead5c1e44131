//! The proxy as a whole, in process: real sockets on loopback, real TLS on both sides, upstream servers of the test
//! kit. Only the kernel's record of a redirection is stood in for, because that needs a network namespace.

mod addresses;
mod applying;
mod aws;
mod bedrock;
mod coded;
mod control;
mod credentials;
mod exchange;
mod fallback;
mod forward;
mod kept;
mod load;
mod owners;
mod placed;
mod providers;
mod proxied;
mod refreshing;
mod refusals;
mod rule_limits;
mod servers;
mod smuggling;
mod spending;
mod streaming;
mod tcp;
mod tls;
mod translate;
mod websocket;
mod websocket_ends;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use chiton_api::{
    control::{Credential, Revised},
    forward::ForwardProxy,
};
use chiton_audit::{Decision, Event, Sink, SinkError};
use chiton_llm::PriceRows;
use chiton_secret::SecretValue;
use chiton_testkit::{TestCa, Upstream};
use chiton_tls::{Alpn, Authority, Roots, SystemRoots, client_config};
use http::{Method, StatusCode};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    capture::{self, Origin},
    dns::{names::parse_name, server::Resolve},
    limits,
    owners::Owners,
    revision::{Revision, RevisionError},
    spend::Past,
    state::{Parts, Proxy},
    upstream::{resolve::SystemNames, trust::Trust},
    workers::Workers,
};

/// What the backend expects, and must never be seen inside.
const SECRET: &str = "sk-backend-0123456789abcdef";

/// Keeps events in memory, or none at all.
#[derive(Clone, Default)]
struct Memory {
    events: Arc<Mutex<Vec<Event>>>,
    broken: Arc<std::sync::atomic::AtomicBool>,
}

impl Sink for Memory {
    fn append(&mut self, event: &Event) -> Result<(), SinkError> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SinkError::Write(io::ErrorKind::StorageFull.into()));
        }
        self.events.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// Every connection was going to one place.
struct Going(SocketAddr);

impl Origin for Going {
    fn of(&self, _: &TcpStream) -> io::Result<SocketAddr> {
        Ok(self.0)
    }

    fn shows_own_end(&self, _: &TcpStream) -> bool {
        true
    }
}

/// A proxy, and what is around it.
struct Bench {
    proxy: Arc<Proxy>,
    events: Memory,
    authority: String,
}

/// How a bench differs from the ordinary one.
#[derive(Default)]
struct Setup<'a> {
    policy: &'a str,
    /// `host:port` and the server that stands there.
    resolve: Vec<(&'a str, SocketAddr)>,
    roots: Vec<String>,
    credentials: Vec<(&'a str, &'a str, Option<Vec<&'a str>>)>,
    system: SystemNames,
    owners: Option<Owners>,
    forward: Option<ForwardProxy>,
    /// `[llm] allow`.
    opened: Vec<String>,
    /// `[llm.prices]`.
    prices: PriceRows,
    past: Option<Past>,
}

fn revised(revision: u64, policy: &str, credentials: &[(&str, &str, Option<Vec<&str>>)]) -> Revised {
    let credential = |(reference, value, hosts): &(&str, &str, Option<Vec<&str>>)| Credential {
        reference: reference.parse().unwrap(),
        value: SecretValue::new(value.as_bytes().to_vec()),
        hosts: hosts.as_ref().map(|hosts| hosts.iter().map(ToString::to_string).collect()),
        valid_ms: None,
    };
    Revised { revision, policy: policy.to_owned(), credentials: credentials.iter().map(credential).collect() }
}

impl Bench {
    fn new(setup: Setup<'_>) -> Self {
        let authority = Authority::generate("test").unwrap();
        let events = Memory::default();
        let roots = if setup.roots.is_empty() { vec![TestCa::new().pem().to_owned()] } else { setup.roots };
        let resolve: BTreeMap<String, String> =
            setup.resolve.iter().map(|(from, to)| ((*from).to_owned(), to.to_string())).collect();
        let pem = authority.certificate_pem().to_owned();
        let proxy = Proxy::new(Parts {
            sandbox: "test".to_owned(),
            authority,
            sink: Box::new(events.clone()),
            names: Vec::new(),
            revision: Revision::build(revised(1, setup.policy, &setup.credentials)).unwrap(),
            trust: Trust::new(SystemRoots::Read(None), Roots::only(&roots).unwrap()).unwrap(),
            system: setup.system,
            resolve,
            forward: setup.forward,
            opened: setup.opened.iter().map(|url| url.parse().unwrap()).collect(),
            owners: setup.owners.unwrap_or_else(|| Owners::new(None).unwrap()),
            prices: setup.prices,
            past: setup.past.unwrap_or_else(Past::new),
        });
        Self { proxy: proxy.unwrap(), events, authority: pem }
    }

    /// One server under one name, on port 443.
    fn with(policy: &str, ca: &TestCa, host: &str, upstream: &Upstream) -> Self {
        let at = format!("{host}:443");
        Self::new(Setup {
            policy,
            resolve: vec![(&at, upstream.address())],
            roots: vec![ca.pem().to_owned()],
            ..Setup::default()
        })
    }

    async fn apply(&self, revision: u64, policy: &str) -> Result<u64, RevisionError> {
        let revision = Revision::build(revised(revision, policy, &[]))?;
        Ok(self.proxy.apply(revision).await)
    }

    /// A connection of the agent to a name, by way of its stand-in.
    async fn connect(&self, host: &str, port: u16) -> TcpStream {
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => self.proxy.stand_in(&parse_name(host).unwrap()).unwrap().v4().into(),
        };
        self.connect_to(SocketAddr::new(address, port)).await
    }

    async fn connect_to(&self, to: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let workers = Workers::new(limits::CONNECTIONS);
        tokio::spawn(capture::serve(listener, self.proxy.clone(), Arc::new(Going(to)), workers));
        TcpStream::connect(at).await.unwrap()
    }

    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let roots = Roots::only(std::slice::from_ref(&self.authority)).unwrap();
        let mut config = ClientConfig::clone(&client_config(&roots, Alpn::Http1).unwrap());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    async fn connect_tls(&self, host: &str, server_name: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
        let stream = self.connect(host, 443).await;
        let name = ServerName::try_from(server_name.to_owned()).unwrap();
        TlsConnector::from(self.client(protocols)).connect(name, stream).await.unwrap()
    }

    /// Sends bytes over TLS, HTTP/1.1, and reads until the proxy closes.
    async fn raw(&self, host: &str, request: &str) -> String {
        let mut stream = self.connect_tls(host, host, &["http/1.1"]).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A close without notice is for the caller to see in what came.
        let read =
            tokio::time::timeout(std::time::Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "no end after {request:?}: {:?}", String::from_utf8_lossy(&answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// `GET` over HTTP/1.1.
    async fn get(&self, host: &str, target: &str) -> String {
        self.raw(host, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
    }

    fn events(&self) -> Vec<Event> {
        self.events.events.lock().unwrap().clone()
    }

    fn denials(&self) -> Vec<String> {
        let events = self.events();
        let denied = events.iter().filter(|event| event.decision == Some(Decision::Deny));
        denied.map(|event| event.reason.as_ref().map_or_else(String::new, ToString::to_string)).collect()
    }

    /// An event of this action, as soon as there is one.
    async fn event(&self, action: &str) -> Event {
        for _ in 0..2000 {
            if let Some(event) = self.events().into_iter().find(|event| event.action.as_str() == action) {
                return event;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("no event `{action}`: {:#?}", self.events());
    }
}

/// Reads until what was read ends so; what that was.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{:?}", String::from_utf8_lossy(&read));
    }
    read
}

/// Status, head and body of an HTTP/1 answer.
fn parts(answer: &str) -> (StatusCode, &str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), head, body)
}

/// An HTTP/2 client on a connection of the agent.
async fn http2<B>(stream: TlsStream<TcpStream>) -> hyper::client::conn::http2::SendRequest<B>
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request<B>(method: &Method, uri: &str, body: B) -> http::Request<B> {
    http::Request::builder().method(method).uri(uri).body(body).unwrap()
}
