//! A new revision holds at once: for new requests on old connections, and for what is still flowing.

use std::time::Duration;

use bytes::Bytes;
use chiton_testkit::Router;
use http_body_util::{BodyExt, Empty};

use super::*;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";
const CLOSED: &str = "dynamic: {network: {http: [{host: other.test}]}}";

#[tokio::test]
async fn a_running_download_is_cut_on_http1() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream.write_all(b"GET /drip?n=100000&ms=20 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("\r\n\r\n") {
        assert!(stream.read_buf(&mut begun).await.unwrap() > 0);
    }
    assert_eq!(bench.apply(2, CLOSED).await.unwrap(), 1);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err(), "cut without notice, not ended: {:?}", String::from_utf8_lossy(&rest));
    assert_eq!(bench.event("cut").await.reason.unwrap().as_str(), "host_not_allowed");
}

#[tokio::test]
async fn a_running_stream_is_cut_on_http2_and_the_next_request_is_judged_anew() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let asked = request(&Method::GET, "https://api.test/drip?n=100000&ms=20", Empty::<Bytes>::new());
    let mut body = client.send_request(asked).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(bench.apply(2, CLOSED).await.unwrap(), 1);
    let rest = tokio::time::timeout(Duration::from_secs(10), body.collect()).await.unwrap();
    assert!(rest.is_err());
    let answer =
        client.send_request(request(&Method::GET, "https://api.test/", Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(answer.headers()["x-chiton-denied"], "host_not_allowed");
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_cut_too() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for protocol in ["http/1.1", "h2"] {
        let mut stream = bench.connect_tls("api.test", "api.test", &[protocol]).await;
        if protocol == "h2" {
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let asked = http::Request::builder().uri("https://api.test/bytes?n=100000000").body(()).unwrap();
            let (answer, _) = client.send_request(asked, true).unwrap();
            let blocked = answer.await.unwrap();
            bench.apply(4, CLOSED).await.unwrap();
            assert!(!bench.proxy.running.is_busy());
            drop(blocked);
        } else {
            stream.write_all(b"GET /bytes?n=100000000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).await.unwrap();
            bench.apply(2, CLOSED).await.unwrap();
            assert!(!bench.proxy.running.is_busy());
            // What the kernel still held back is thrown away: the agent sees a reset, not the rest and an end.
            let socket = stream.get_mut().0;
            let ended = tokio::io::copy(socket, &mut tokio::io::sink()).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            bench.apply(3, OPEN).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_still_allowed_goes_on() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream
        .write_all(b"GET /drip?n=20&ms=20 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0];
    stream.read_exact(&mut answer).await.unwrap();
    let wider = "dynamic: {network: {http: [{host: other.test}, {host: api.test}]}}";
    assert_eq!(bench.apply(2, wider).await.unwrap(), 0);
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn what_does_not_load_changes_nothing() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let unsupported = "dynamic: {llm_routing: {provider: openai, fallback: [{provider: google}]}}";
    for bad in ["dynamic: {netwrk: {}}", "{", unsupported] {
        assert!(bench.apply(2, bad).await.is_err(), "{bad}");
    }
    assert_eq!(bench.proxy.running.revision().number, 1);
    assert_eq!(parts(&bench.get("api.test", "/bytes?n=1").await).0, StatusCode::OK);
}
