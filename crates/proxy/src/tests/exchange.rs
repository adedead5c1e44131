//! Requests that are allowed: every combination of protocols, both directions, exactly as sent.

use bytes::Bytes;
use chiton_audit::Decision;
use chiton_testkit::Router;
use http_body_util::{BodyExt, Empty, Full};

use super::*;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

#[tokio::test]
async fn a_get_goes_all_the_way() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let answer = bench.get("api.test", "/bytes?n=1000").await;
    let (status, head, body) = parts(&answer);
    assert_eq!((status, body.len()), (StatusCode::OK, 1000), "{head}");
    assert!(head.contains("content-length: 1000"), "{head}");
    let seen = &upstream.requests()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/bytes?n=1000"));
    assert_eq!((seen.host.as_str(), seen.sni.as_deref()), ("api.test", Some("api.test")));
    let done = bench.event("response").await;
    assert_eq!(done.response.unwrap().status, Some(200));
    assert_eq!(done.response.unwrap().bytes, Some(1000));
    let events = bench.events();
    let judged = events.iter().find(|event| event.action.as_str() == "request").unwrap();
    assert_eq!(judged.decision, Some(Decision::Allow));
    assert_eq!(judged.rule.as_deref(), Some("http[0]"));
    assert_eq!(serde_json::to_value(&judged.request).unwrap()["query"], serde_json::json!(["n"]));
    assert!(events.iter().position(|e| e.id == judged.id) < events.iter().position(|e| e.id == done.id));
}

#[tokio::test]
async fn every_combination_of_protocols() {
    let ca = TestCa::new();
    let servers = [
        Upstream::tls(&ca, &["api.test"], Router::echo()),
        Upstream::tls_http1(&ca, &["api.test"], Router::echo()),
    ];
    for (upstream, wanted) in servers.iter().zip(["HTTP/2.0", "HTTP/1.1"]) {
        let bench = Bench::with(OPEN, &ca, "api.test", upstream);
        let body = "x".repeat(100_000);
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = bench.raw("api.test", &format!("{head}{body}")).await;
        assert_eq!(parts(&answer).0, StatusCode::OK);
        let chunks = "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        let head = "POST /echo HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(parts(&bench.raw("api.test", &format!("{head}{chunks}")).await).0, StatusCode::OK);
        let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
        let sent = request(&Method::POST, "https://api.test/echo", Full::new(Bytes::from(body.clone())));
        let answer = client.send_request(sent).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
        let seen = upstream.requests();
        assert_eq!(seen.iter().map(|seen| seen.protocol.as_str()).collect::<Vec<_>>(), [wanted; 3]);
        assert_eq!(seen[0].body, body.as_bytes());
        assert_eq!(seen[1].body, b"abc0123456789abcdef");
        assert_eq!(seen[2].body, body.as_bytes());
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    for number in 0..5 {
        let request = format!("GET /bytes?n=10&i={number} HTTP/1.1\r\nhost: api.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.contains("\r\n\r\n") || parts(&answer).2.len() < 10 {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
    assert_eq!(upstream.requests().len(), 5);
    assert_eq!(upstream.log().connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let answer = bench
        .raw(
            "api.test",
            "POST /echo?i=1 HTTP/1.1\r\nhost: api.test\r\ncontent-length: 3\r\n\r\nabcGET /bytes?n=5&i=2 HTTP/1.1\r\nhost: api.test\r\n\r\n\
             GET /nothing HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 3, "{answer}");
    assert!(answer.contains("ambiguous_request"), "{answer}");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    bench
        .raw(
            "api.test",
            "GET /bytes?n=1 HTTP/1.1\r\nhost: api.test\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
             proxy-authorization: Basic eDp5\r\nupgrade: websocket\r\nte: trailers\r\nx-end: 2\r\n\r\n",
        )
        .await;
    let seen = &upstream.requests()[0];
    for gone in ["x-hop", "keep-alive", "proxy-authorization", "upgrade"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("x-end"), Some("2"));
}

#[tokio::test]
async fn the_canonical_request_is_what_is_sent() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    bench.get("api.test", "/a/%2e%2e/b/./%7euser/%c3%a9?q=%7e%2f").await;
    assert_eq!(upstream.requests()[0].target, "/b/~user/%C3%A9?q=~%2F");
    bench.get("api.test", "https://api.test/c").await;
    assert_eq!(upstream.requests()[1].target, "/c");
}

#[tokio::test]
async fn head_and_empty_answers_have_no_body() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let answer = bench
        .raw("api.test", "HEAD /bytes?n=77 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
        .await;
    let (status, head, body) = parts(&answer);
    assert_eq!((status, body), (StatusCode::OK, ""));
    assert!(head.contains("content-length: 77"), "{head}");
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let answer =
        client.send_request(request(&Method::HEAD, "https://api.test/bytes?n=77", Empty::<Bytes>::new()));
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "77");
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let answer = bench.raw("api.test", "GET /chunked?n=2 HTTP/1.0\r\n\r\n").await;
    let (status, head, body) = parts(&answer);
    assert_eq!((status, body.len()), (StatusCode::OK, 2048));
    assert!(head.contains("connection: close") && !head.contains("chunked"), "{head}");
    assert_eq!(upstream.requests()[0].host, "api.test");
}

#[tokio::test]
async fn expect_continue_is_answered_after_the_decision() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(
        "dynamic: {network: {http: [{host: api.test, methods: [POST], paths: [/echo]}]}}",
        &ca,
        "api.test",
        &upstream,
    );
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: api.test\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        )
    };
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream.write_all(head("/echo").as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parts(&answer).0, StatusCode::OK);
    assert_eq!(upstream.requests()[0].body, b"hello");
    // Refused: no invitation to send.
    let answer = bench.raw("api.test", &head("/other")).await;
    assert_eq!(parts(&answer).0, StatusCode::FORBIDDEN);
    assert!(!answer.contains("100 Continue"));
}

#[tokio::test]
async fn plain_http_where_a_rule_says_so() {
    let upstream = Upstream::plain(Router::echo());
    let policy = "dynamic: {network: {http: [{host: plain.test, scheme: http}]}}";
    let bench = Bench::new(Setup {
        policy,
        resolve: vec![("plain.test:80", upstream.address())],
        ..Setup::default()
    });
    let mut stream = bench.connect("plain.test", 80).await;
    stream
        .write_all(b"GET /bytes?n=3 HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!((parts(&answer).0, parts(&answer).2.len()), (StatusCode::OK, 3));
    // Another name on the same connection's address is a contradiction.
    let mut stream = bench.connect("plain.test", 80).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    assert_eq!(upstream.requests().len(), 1);
}
