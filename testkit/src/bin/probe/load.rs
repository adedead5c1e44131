//! Attempts at much at once: connections, streams, requests.

use std::{
    io::{self, Error},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Attempt, Tried, argument};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("hold-connections", |a| run(hold(name(a), number(a, 1)?, number(a, 2)?))),
    ("streams", |a| run(streams(name(a), number(a, 1)?, argument(a, 2, "/").to_owned()))),
    ("places", |a| run(places(name(a), number(a, 1)?, number(a, 2)?, number(a, 3)?, number(a, 4)?))),
    ("requests", |a| run(requests(name(a), number(a, 1)?, number(a, 2)?, argument(a, 3, "/").to_owned()))),
];

/// Opened at once.
const AT_ONCE: usize = 32;

type Http1 = conn::http1::SendRequest<Empty<Bytes>>;

fn name(arguments: &[String]) -> String {
    argument(arguments, 0, "").to_owned()
}

fn number(arguments: &[String], at: usize) -> io::Result<usize> {
    argument(arguments, at, "1").parse().map_err(Error::other)
}

fn run(attempt: impl Future<Output = Tried>) -> Tried {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(attempt)
}

/// Where clients find the authorities to trust.
fn trusting(protocol: &str) -> io::Result<TlsConnector> {
    let file = std::env::var("SSL_CERT_FILE").map_err(Error::other)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(Error::other)? {
        let _ = roots.add(certificate.map_err(Error::other)?);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(tls: &TlsConnector, host: &str) -> io::Result<TlsStream<TcpStream>> {
    let server = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    let stream = TcpStream::connect((host, 443)).await?;
    stream.set_nodelay(true)?;
    tls.connect(server, stream).await
}

async fn http1(tls: &TlsConnector, host: &str) -> io::Result<Http1> {
    let stream = TokioIo::new(connect(tls, host).await?);
    let (sender, connection) = conn::http1::handshake(stream).await.map_err(Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request, answered 200 to its end.
async fn get(sender: &mut Http1, host: &str, path: &str) -> io::Result<()> {
    let request = Request::get(path).header("host", host).body(Empty::new()).map_err(Error::other)?;
    sender.ready().await.map_err(Error::other)?;
    let answer = sender.send_request(request).await.map_err(Error::other)?;
    let status = answer.status();
    answer.into_body().collect().await.map_err(Error::other)?;
    if status == 200 { Ok(()) } else { Err(Error::other(status.to_string())) }
}

/// Opens so many connections, asks once on each, writes `held`, waits for `go`, and asks again on every n-th.
async fn hold(host: String, count: usize, every: usize) -> Tried {
    let tls = trusting("http/1.1")?;
    let mut opening = JoinSet::new();
    for lane in 0..AT_ONCE {
        let (tls, host) = (tls.clone(), host.clone());
        opening.spawn(async move {
            let mut held = Vec::new();
            for _ in (lane..count).step_by(AT_ONCE) {
                let mut sender = http1(&tls, &host).await?;
                get(&mut sender, &host, "/status/200").await?;
                held.push(sender);
            }
            Ok::<_, Error>(held)
        });
    }
    let mut held = Vec::new();
    while let Some(some) = opening.join_next().await {
        held.extend(some.map_err(Error::other)??);
    }
    std::fs::write("held", "")?;
    while !Path::new("go").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut asked = 0;
    for sender in held.iter_mut().step_by(every) {
        get(sender, &host, "/status/200").await?;
        asked += 1;
    }
    let open = held.iter().filter(|sender| !sender.is_closed()).count();
    Ok(format!("{open} open, {asked} asked again"))
}

/// So many requests at once on one connection of HTTP/2.
async fn streams(host: String, count: usize, path: String) -> Tried {
    let stream = TokioIo::new(connect(&trusting("h2")?, &host).await?);
    let opened = conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = opened.map_err(Error::other)?;
    tokio::spawn(connection);
    let mut answers = JoinSet::new();
    for n in 0..count {
        let uri = format!("https://{host}{path}?n={n}");
        let request = Request::get(uri).body(Empty::<Bytes>::new()).map_err(Error::other)?;
        sender.ready().await.map_err(Error::other)?;
        let answer = sender.send_request(request);
        answers.spawn(async move {
            let answer = answer.await.map_err(Error::other)?;
            let status = answer.status();
            answer.into_body().collect().await.map_err(Error::other)?;
            Ok::<_, Error>(status.as_u16())
        });
    }
    let mut well = 0;
    while let Some(status) = answers.join_next().await {
        well += usize::from(status.map_err(Error::other)?? == 200);
    }
    Ok(format!("{well} answered"))
}

/// So many requests on each of so many connections of HTTP/2, with a header of so many bytes, until so many are refused
/// for want of a place. No window is opened for the answers, so that these stay under way.
async fn places(host: String, connections: usize, count: usize, head: usize, refused: usize) -> Tried {
    let tls = trusting("h2")?;
    let (mut answers, mut held) = (JoinSet::new(), Vec::new());
    for _ in 0..connections {
        let stream = TokioIo::new(connect(&tls, &host).await?);
        let mut builder = conn::http2::Builder::new(TokioExecutor::new());
        let opened = builder.initial_stream_window_size(0).handshake(stream).await;
        let (mut sender, connection) = opened.map_err(Error::other)?;
        tokio::spawn(connection);
        for _ in 0..count {
            let request = Request::get(format!("https://{host}/")).header("x", "x".repeat(head));
            let request = request.body(Empty::<Bytes>::new()).map_err(Error::other)?;
            sender.ready().await.map_err(Error::other)?;
            answers.spawn(sender.send_request(request));
        }
        held.push(sender);
    }
    let (mut reasons, mut answered) = (Vec::new(), Vec::new());
    while reasons.len() < refused
        && let Some(answer) = answers.join_next().await
    {
        match answer.map_err(Error::other)? {
            Ok(answer) => answered.push(answer),
            Err(error) => reasons.push(reset_for(&error)),
        }
    }
    let told = format!(
        "{} of {} REFUSED_STREAM",
        reasons.iter().filter(|r| *r == "REFUSED_STREAM").count(),
        reasons.len()
    );
    drop(held);
    Ok(told)
}

/// What a server reset the stream for.
fn reset_for(error: &hyper::Error) -> String {
    let reason =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>()?.reason());
    reason.map_or_else(|| error.to_string(), |reason| format!("{reason:?}"))
}

/// So many requests, one after the other on each of so many connections.
async fn requests(host: String, count: usize, connections: usize, path: String) -> Tried {
    let tls = trusting("http/1.1")?;
    let mut asking = JoinSet::new();
    for lane in 0..connections {
        let (tls, host, path) = (tls.clone(), host.clone(), path.clone());
        asking.spawn(async move {
            let mut sender = http1(&tls, &host).await?;
            for _ in (lane..count).step_by(connections) {
                get(&mut sender, &host, &path).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.map_err(Error::other)??;
    }
    Ok(format!("{count} answered"))
}
