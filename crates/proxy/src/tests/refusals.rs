//! What is refused: how it is told, that it is written first, and that nothing of it leaves.

use bytes::Bytes;
use chiton_testkit::{RawUpstream, Router, raw::Script};
use http_body_util::{BodyExt, Empty};

use super::*;

const POLICY: &str = "dynamic: {network: {http: [{host: api.test, methods: [GET], paths: [/repos/*]}]}}";

#[tokio::test]
async fn a_refusal_says_why_as_promised() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let answer = bench.get("api.test", "/repos/o/n").await;
    let (status, head, body) = parts(&answer);
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(head.contains("x-chiton-denied: path_not_allowed"), "{head}");
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["type", "title", "status", "detail", "reason", "rule", "sandbox", "event", "suggestion"]
    );
    assert_eq!(document["type"], "https://chiton.internal/denied/path_not_allowed");
    assert_eq!(
        document["detail"],
        "GET /repos/o/n is not allowed for api.test: no path pattern of rule \"http[0]\" matches"
    );
    let event = bench.events().into_iter().find(|event| event.reason.is_some()).unwrap();
    assert_eq!(document["event"], event.id.to_string());
    assert_eq!((event.revision, event.rule.as_deref()), (Some(1), Some("http[0]")));
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn a_host_that_no_rule_names_completes_tls_and_is_refused() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let answer = bench.get("evil.test", "/").await;
    assert!(answer.contains("x-chiton-denied: host_not_allowed"), "{answer}");
    let answer = bench
        .raw("api.test", "DELETE /repos/x HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("x-chiton-denied: method_not_allowed"), "{answer}");
    let answer = bench.get("1.2.3.4", "/").await;
    assert!(answer.contains("x-chiton-denied: host_not_allowed"), "{answer}");
    assert_eq!(bench.denials(), ["host_not_allowed", "method_not_allowed", "host_not_allowed"]);
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn every_stream_of_one_connection_is_judged() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let mut ask = async |uri: &str| {
        let answer = client.send_request(request(&Method::GET, uri, Empty::<Bytes>::new())).await.unwrap();
        let reason =
            answer.headers().get("x-chiton-denied").map(|reason| reason.to_str().unwrap().to_owned());
        answer.into_body().collect().await.unwrap();
        reason
    };
    assert_eq!(ask("https://api.test/repos/a").await, None);
    assert_eq!(ask("https://api.test/users/a").await.as_deref(), Some("path_not_allowed"));
    assert_eq!(ask("https://evil.test/repos/a").await.as_deref(), Some("ambiguous_request"));
    assert_eq!(ask("https://api.test:444/repos/a").await.as_deref(), Some("ambiguous_request"));
    assert_eq!(ask("https://api.test/repos/b").await, None);
    let targets: Vec<String> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/repos/a", "/repos/b"]);
}

#[tokio::test]
async fn a_call_of_grpc_is_told_in_its_own_way() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    for (kind, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let mut asked = request(&Method::POST, "https://api.test/a.B/C%25", Empty::<Bytes>::new());
        asked.headers_mut().insert("content-type", kind.parse().unwrap());
        let answer = client.send_request(asked).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.headers()["x-chiton-denied"], "method_not_allowed");
        assert_eq!(
            answer.headers().get("grpc-status").map(|status| status.as_bytes()),
            grpc.then_some(&b"7"[..]),
            "{kind}"
        );
        if grpc {
            let message = answer.headers()["grpc-message"].to_str().unwrap();
            assert!(message.starts_with("method_not_allowed: POST /a.B/C%2525 is not allowed"), "{message}");
        }
        assert_eq!(http_body::Body::is_end_stream(answer.body()), grpc, "{kind}");
    }
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn a_body_of_a_refused_request_is_not_awaited() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let request = "POST /repos/x HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1000000\r\n\r\nbegin";
    let answer = bench.raw("api.test", request).await;
    assert!(answer.contains("x-chiton-denied: method_not_allowed"), "{answer}");
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn nothing_goes_out_that_cannot_be_written_down() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(POLICY, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    bench.events.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    for target in ["/repos/a", "/users/a"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: api.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 503"));
    }
    assert!(bench.proxy.stand_in(&parse_name("new.test").unwrap()).is_err());
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn mode_audit_lets_pass_and_writes_down() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let policy =
        "dynamic: {mode: audit, network: {http: [{host: api.test, methods: [GET], paths: [/repos/*]}]}}";
    let bench = Bench::with(policy, &ca, "api.test", &upstream);
    assert_eq!(parts(&bench.get("api.test", "/bytes?n=4").await).0, StatusCode::OK);
    let event = bench.events().into_iter().find(|event| event.decision == Some(Decision::Audit)).unwrap();
    assert_eq!(event.reason.unwrap().as_str(), "path_not_allowed");
    // What two servers could read differently stays refused.
    let answer = bench.get("api.test", "/a//b").await;
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
}

#[tokio::test]
async fn requests_under_way_have_a_bound() {
    let policy = "dynamic: {network: {http: [{host: api.test}]}}";
    let ca = TestCa::new();
    let upstream = RawUpstream::tls(&ca, &["api.test"], Script::Stall);
    let resolve = vec![("api.test:443", upstream.address())];
    let bench = Bench::new(Setup { policy, resolve, roots: vec![ca.pem().to_owned()], ..Setup::default() });
    let client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let ask = |mut client: hyper::client::conn::http2::SendRequest<Empty<Bytes>>| {
        let asked = request(&Method::GET, "https://api.test/", Empty::new());
        tokio::spawn(async move { client.send_request(asked).await })
    };
    let mut clients = vec![client];
    while clients.len() < limits::EXCHANGES / 100 + 1 {
        clients.push(http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await);
    }
    let asked: Vec<_> = clients.iter().flat_map(|client| (0..100).map(|_| ask(client.clone()))).collect();
    while bench.proxy.running.under_way() < limits::EXCHANGES {
        tokio::task::yield_now().await;
    }
    let refused = ask(clients[0].clone()).await.unwrap().unwrap();
    assert_eq!(refused.headers()["x-chiton-denied"], "limit_exceeded");
    for waiting in asked {
        waiting.abort();
    }
    // A place is free again as soon as its agent has left.
    drop(clients);
    while bench.proxy.running.is_busy() {
        tokio::task::yield_now().await;
    }
}
