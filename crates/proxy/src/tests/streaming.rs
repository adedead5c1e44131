//! Bodies flow: at once, in bounded memory, and an abort on one side is an abort on the other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chiton_testkit::{RawUpstream, Router, raw::Script};
use http_body_util::{BodyExt, Empty};

use super::*;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream
        .write_all(b"GET /sse?n=3&ms=400 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    let mut first = Vec::new();
    while !String::from_utf8_lossy(&first).contains("data:") {
        assert!(stream.read_buf(&mut first).await.unwrap() > 0);
    }
    let (until_first, mut rest) = (begun.elapsed(), String::new());
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(
        begun.elapsed() > until_first + Duration::from_millis(300),
        "the first event waited for the last"
    );
}

#[tokio::test]
async fn large_bodies_pass_whole() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let size = 20 << 20;
    let answer = bench.get("api.test", &format!("/bytes?n={size}")).await;
    assert_eq!(parts(&answer).2.len(), size);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let asked = request(&Method::GET, &format!("https://api.test/bytes?n={size}"), Empty::<Bytes>::new());
    let body = client.send_request(asked).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), size);
}

#[tokio::test]
async fn a_body_that_breaks_off_upstream_is_not_whole_for_the_agent() {
    let ca = TestCa::new();
    let replies = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for reply in replies {
        let upstream = RawUpstream::tls(&ca, &["api.test"], Script::SendThenReset(reply.into()));
        let bench = Bench::new(Setup {
            policy: OPEN,
            resolve: vec![("api.test:443", upstream.address())],
            roots: vec![ca.pem().to_owned()],
            ..Setup::default()
        });
        let answer = bench.get("api.test", "/").await;
        // Where the head came at all, the body must lack its end.
        assert!(!answer.ends_with("0\r\n\r\n") && !answer.contains("content-length: 4\r\n"), "{answer}");
        let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
        let asked = request(&Method::GET, "https://api.test/", Empty::<Bytes>::new());
        let answer = client.send_request(asked).await.unwrap();
        if answer.status() == StatusCode::OK {
            assert!(answer.into_body().collect().await.is_err());
        }
    }
}

#[tokio::test]
async fn an_agent_that_leaves_aborts_upstream() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: api.test\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    let log = upstream.log().clone();
    tokio::task::spawn_blocking(move || log.await_request(|seen| seen.body == b"half")).await.unwrap();
    drop(stream);
    for _ in 0..1000 {
        if upstream.log().aborted() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the request was not aborted upstream");
}

#[tokio::test]
async fn trailers_pass() {
    let ca = TestCa::new();
    let reply = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
    let upstream = RawUpstream::tls(&ca, &["api.test"], Script::Send(reply.into()));
    let bench = Bench::new(Setup {
        policy: OPEN,
        resolve: vec![("api.test:443", upstream.address())],
        roots: vec![ca.pem().to_owned()],
        ..Setup::default()
    });
    let answer = bench
        .raw("api.test", "GET / HTTP/1.1\r\nhost: api.test\r\nte: trailers\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_during_the_answer_adds_nothing_to_it() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = server.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut seen = read_until(&mut stream, b"hello\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nearly").await.unwrap();
        let _ = stream.read_to_end(&mut seen).await;
    });
    let policy = "dynamic: {network: {http: [{host: api.test, scheme: http, methods: ['*']}]}}";
    let bench = Bench::new(Setup { policy, resolve: vec![("api.test:80", at)], ..Setup::default() });
    let mut stream = bench.connect("api.test", 80).await;
    let head = "POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, b"early").await;
    stream.write_all(b"zz\r\n").await.unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert_eq!((ended.unwrap_err().kind(), rest), (io::ErrorKind::ConnectionReset, Vec::new()));
}
