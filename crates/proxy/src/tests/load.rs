//! Much at once, and peers that say nothing: each is refused or ended by its limit, and that is written.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use chiton_testkit::Router;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt, Empty};

use super::*;
use crate::accept;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

/// The preface, and settings that let nothing of an answer's body through.
const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET https://api.test/`, whole.
fn get(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, b"\x82\x87\x84\x41\x08api.test")
}

/// Those that another thread was given are answered like the others, stay with it, and end with it.
#[tokio::test]
async fn connections_beyond_one_threads_are_served_by_another() {
    let upstream = Upstream::plain(Router::echo());
    let at = "plain.test:80";
    let (policy, resolve) =
        ("dynamic: {network: {http: [{host: plain.test, scheme: http}]}}", vec![(at, upstream.address())]);
    let bench = Bench::new(Setup { policy, resolve, ..Setup::default() });
    let to = bench.proxy.stand_in(&parse_name("plain.test").unwrap()).unwrap().v4();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = limits::CONNECTIONS_PER_WORKER + 8;
    let workers = Workers::of(count, 2);
    let origin = Arc::new(Going(SocketAddr::new(to.into(), 80)));
    let accepting = tokio::spawn(capture::serve(listener, bench.proxy.clone(), origin, workers.clone()));
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..2 {
        for stream in &mut open {
            stream.write_all(b"GET /bytes?n=3 HTTP/1.1\r\nHost: plain.test\r\n\r\n").await.unwrap();
            read_until(stream, b"\r\n\r\n\0\0\0").await;
        }
    }
    assert_eq!(upstream.requests().len(), 2 * count);
    // With every place taken nothing more is accepted.
    assert!(workers.place().now_or_never().is_none());
    accepting.abort();
    assert!(accepting.await.unwrap_err().is_cancelled());
    drop(workers);
    let beyond = open.split_off(limits::CONNECTIONS_PER_WORKER);
    for mut stream in beyond {
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
    open[0].write_all(b"GET /bytes?n=3 HTTP/1.1\r\nHost: plain.test\r\n\r\n").await.unwrap();
    assert!(open[0].read(&mut [0; 64]).await.unwrap() > 0);
}

/// Sends frames, and reads until one of this kind comes; how many came of each, with the code that they end with.
async fn frames_until(bench: &Bench, sent: Vec<u8>, kind: u8) -> BTreeMap<(u8, u8), usize> {
    let mut stream = bench.connect_tls("api.test", "api.test", &["h2"]).await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    let (mut got, mut seen) = (Vec::new(), BTreeMap::new());
    let reading = async {
        loop {
            while let Some(head) = got.first_chunk::<9>().copied() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some(payload) = got.get(9..9 + length) else { break };
                let code = if matches!(head[3], 3 | 7) { *payload.last().unwrap() } else { 0 };
                *seen.entry((head[3], code)).or_default() += 1;
                if head[3] == kind {
                    return;
                }
                got.drain(..9 + length);
            }
            if !matches!(stream.read_buf(&mut got).await, Ok(1..)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an end");
    seen
}

fn refused_by_limit(bench: &Bench) -> usize {
    let events = bench.events.events.lock().unwrap();
    let is = |event: &&Event| {
        event.action.as_str() == "connect"
            && event.reason.as_ref().is_some_and(|reason| reason.as_str() == "limit_exceeded")
    };
    events.iter().filter(is).count()
}

#[tokio::test]
async fn a_stream_too_many_is_refused_and_written() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    // Their answers wait for a window: all of them stay open.
    let sent = (0..=limits::STREAMS).flat_map(|n| get(2 * n + 1)).collect();
    let seen = frames_until(&bench, sent, 3).await;
    assert_eq!(seen.get(&(3, 7)), Some(&1), "{seen:?}");
    assert_eq!(refused_by_limit(&bench), 1);
}

#[tokio::test]
async fn a_frame_too_long_ends_the_connection_and_is_written() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let seen = frames_until(&bench, frame(0, 0, 1, &[0; limits::FRAME as usize + 1]), 7).await;
    assert_eq!(seen.get(&(7, 6)), Some(&1), "{seen:?}");
    assert_eq!(refused_by_limit(&bench), 1);
}

#[tokio::test]
async fn a_header_list_too_long_is_refused_and_written() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    for (length, status, events) in [(60 << 10, 200, 0), (65 << 10, 431, 1)] {
        let mut asked = request(&Method::GET, "https://api.test/status/200", Empty::<Bytes>::new());
        asked.headers_mut().insert("x-long", "x".repeat(length).parse().unwrap());
        let answer = client.send_request(asked).await.unwrap();
        assert_eq!((answer.status().as_u16(), refused_by_limit(&bench)), (status, events));
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_server_that_stalls_in_a_body_is_given_up() {
    let ca = TestCa::new();
    // The second piece comes in a year.
    let year = Duration::from_secs(365 * 24 * 3600);
    let router = Router::new().any("/", move |_| async move {
        let pieces = vec![Bytes::from_static(b"first"), Bytes::from_static(b"second")];
        chiton_testkit::routes::echo::streamed("text/plain", pieces, year)
    });
    let upstream = Upstream::tls(&ca, &["api.test"], router);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let asked = request(&Method::GET, "https://api.test/", Empty::<Bytes>::new());
    let body = client.send_request(asked).await.unwrap().into_body();
    let ended = tokio::time::timeout(Duration::from_secs(10), body.collect()).await.expect("an end");
    assert!(ended.is_err(), "the body is not whole");
    assert!(!bench.proxy.running.is_busy());
}

/// An idle connection is this, its TLS, and little else.
#[tokio::test]
async fn a_connection_is_small() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let stream = TcpStream::connect(upstream.address()).await.unwrap();
    let serving = accept::serve(
        stream,
        crate::capture::Arrived { to: upstream.address(), ends: None },
        bench.proxy.clone(),
    );
    let size = size_of_val(&serving);
    assert!(size <= 2 << 10, "{size}");
}
