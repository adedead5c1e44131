//! `limits` of a rule: requests in a minute, bytes of a body, each way.

use super::*;

const SMALL: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*'], name: small, \
                     limits: {request_body: 10, response_body: 2000}}]}}";

fn post(body: &str) -> String {
    format!(
        "POST /echo HTTP/1.1\r\nhost: api.test\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn the_next_request_in_a_minute_waits_and_a_revision_does_not_begin_anew() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], chiton_testkit::Router::echo());
    let policy =
        "dynamic: {network: {http: [{host: api.test, name: few, limits: {requests_per_minute: 2}}]}}";
    let bench = Bench::with(policy, &ca, "api.test", &upstream);
    for wanted in [200, 200, 403] {
        let answer = bench.get("api.test", "/").await;
        let (status, head, body) = parts(&answer);
        assert_eq!(status, wanted, "{answer}");
        if wanted == 403 {
            assert!(head.contains("\r\nx-chiton-denied: limit_exceeded\r\n"), "{head}");
            let wait = head.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
            assert!((1..=60).contains(&wait.parse::<u32>().unwrap()), "{head}");
            assert!(body.contains("allows 2 requests in a minute"), "{body}");
        }
    }
    bench.apply(2, policy).await.unwrap();
    assert_eq!(parts(&bench.get("api.test", "/").await).0, 403);
    assert_eq!(bench.denials(), ["limit_exceeded", "limit_exceeded"]);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_request_that_says_it_is_too_long_is_not_begun() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], chiton_testkit::Router::echo());
    let bench = Bench::with(SMALL, &ca, "api.test", &upstream);
    assert_eq!(parts(&bench.raw("api.test", &post("0123456789")).await).0, 200);
    let answer = bench.raw("api.test", &post("0123456789a")).await;
    assert_eq!(parts(&answer).0, 403);
    assert_eq!(bench.denials(), ["limit_exceeded"]);
    assert_eq!(upstream.requests().len(), 1, "refused is untouched");
}

#[tokio::test]
async fn one_that_becomes_too_long_is_never_completed() {
    let ca = TestCa::new();
    for http2 in [false, true] {
        let router = chiton_testkit::Router::echo();
        let upstream = match http2 {
            true => Upstream::tls(&ca, &["api.test"], router),
            false => Upstream::tls_http1(&ca, &["api.test"], router),
        };
        let bench = Bench::with(SMALL, &ca, "api.test", &upstream);
        let request = "POST /echo HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                       6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
        let answer = bench.raw("api.test", request).await;
        assert_eq!(parts(&answer).0, 403, "{answer}");
        assert_eq!(bench.denials(), ["limit_exceeded"]);
        assert!(upstream.requests().iter().all(|seen| seen.body.len() < 12), "{:?}", upstream.requests());
    }
}

#[tokio::test]
async fn a_response_that_says_it_is_too_long_is_refused_and_one_that_becomes_so_is_cut() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], chiton_testkit::Router::echo());
    let bench = Bench::with(SMALL, &ca, "api.test", &upstream);
    assert_eq!(parts(&bench.get("api.test", "/bytes?n=2000").await).0, 200);
    let answer = bench.get("api.test", "/bytes?n=2001").await;
    assert_eq!(parts(&answer).0, 403, "{answer}");
    assert_eq!(bench.denials(), ["limit_exceeded"]);

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let reply = format!("{chunked}{}0\r\n\r\n", piece.repeat(3));
    let server = chiton_testkit::raw::RawUpstream::tls(
        &ca,
        &["api.test"],
        chiton_testkit::raw::Script::Send(reply.into()),
    );
    let bench = Bench::new(Setup {
        policy: SMALL,
        resolve: vec![("api.test:443", server.address())],
        roots: vec![ca.pem().to_owned()],
        ..Setup::default()
    });
    let answer = bench.get("api.test", "/").await;
    assert!(!answer.ends_with("0\r\n\r\n") && answer.matches('x').count() <= 2000, "{}", answer.len());
    let cut = bench.event("cut").await;
    assert_eq!((cut.reason.unwrap().as_str(), cut.rule.as_deref()), ("limit_exceeded", Some("small")));
}
