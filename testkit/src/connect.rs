//! A forward proxy: `CONNECT` with an optional credential, to where the test says that a place is.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    ca::TestCa,
    log::{Log, Seen},
    loopback::Loopback,
};

/// What a forward proxy is like.
#[derive(Default)]
pub struct Forward<'a> {
    /// `host:port` as it is asked for, and the server that stands there. Any other place is answered 502.
    pub places: Vec<(&'a str, SocketAddr)>,
    /// `user:password`; without it, everybody may.
    pub credential: Option<&'a str>,
    /// It is spoken to over TLS, under this name.
    pub tls: Option<(&'a TestCa, &'a str)>,
    /// The answer comes in one piece with the first bytes of the server, which it waits for.
    pub at_once: bool,
}

/// A forward proxy that runs until it is dropped. Its log has the head of every request, as `target`, and the place that
/// was asked for, as `host`.
#[derive(Debug)]
pub struct ForwardProxy {
    loopback: Loopback,
    log: Log,
}

struct Served {
    places: HashMap<String, SocketAddr>,
    authorization: Option<String>,
    at_once: bool,
    log: Log,
}

impl ForwardProxy {
    /// Begins to listen.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(like: &Forward<'_>) -> Self {
        let log = Log::default();
        let served = Arc::new(Served {
            places: like.places.iter().map(|(place, at)| ((*place).to_owned(), *at)).collect(),
            authorization: like.credential.map(|text| format!("Basic {}", STANDARD.encode(text))),
            at_once: like.at_once,
            log: log.clone(),
        });
        let tls = like.tls.map(|(ca, name)| TlsAcceptor::from(ca.server_config(&[name], &["http/1.1"])));
        let serve = move |listener| accept(listener, tls, served);
        Self { loopback: Loopback::start(Builder::new_current_thread(), serve), log }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.loopback.address()
    }

    /// What it was asked.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The places that it was asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.log.requests().into_iter().map(|seen| seen.host).collect()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, served: Arc<Served>) {
    while let Ok((stream, _)) = listener.accept().await {
        served.log.connected();
        let (tls, served) = (tls.clone(), served.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, &served).await,
                Some(acceptor) => serve(acceptor.accept(stream).await?, &served).await,
            }
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, served: &Served) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let place = words.next().unwrap_or_default().to_owned();
    let field = |name: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let authorization = field("proxy-authorization");
    served.log.record(Seen {
        method: method.clone(),
        target: text.clone(),
        host: place.clone(),
        ..Seen::default()
    });
    // Every refusal says what it was sent: none of it may be seen inside.
    let mut refuse = async |status: &str| {
        let answer = format!(
            "HTTP/1.1 {status} {place}\r\nproxy-authenticate: Basic\r\nconnection: close\r\n\r\n{text}"
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    if served.authorization.is_some() && authorization != served.authorization {
        return refuse("407").await;
    }
    if method != "CONNECT" {
        return refuse("405").await;
    }
    let Some(at) = served.places.get(&place) else { return refuse("502").await };
    let Ok(mut server) = TcpStream::connect(at).await else { return refuse("503").await };
    let mut answer = b"HTTP/1.1 200 Connection established\r\nproxy-agent: test\r\n\r\n".to_vec();
    if served.at_once {
        let _ = server.read_buf(&mut answer).await?;
    }
    stream.write_all(&answer).await?;
    stream.flush().await?;
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}
