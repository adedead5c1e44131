//! Requests that two servers could read differently: none of them passes, whatever stands behind them.

use chiton_testkit::Router;

use super::*;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

/// The first answer to these bytes: its status, and the reason of the refusal.
async fn answer(bench: &Bench, bytes: &str) -> (u16, String) {
    let answer = bench.raw("api.test", bytes).await;
    if answer.is_empty() {
        return (0, String::new());
    }
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{bytes:?}: {answer}");
    let (status, head, _) = parts(&answer);
    let reason = head.lines().find_map(|line| line.strip_prefix("x-chiton-denied: "));
    (status.as_u16(), reason.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_end_the_connection() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: api.test\r\n\r\n";
    let with =
        |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\nhost: api.test\r\n{fields}\r\n{body}");
    let cases = [
        with("content-length: 6\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
        with("transfer-encoding: chunked\r\ncontent-length: 6\r\n", &format!("0\r\n\r\n{smuggled}")),
        with("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
        with("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
        with("content-length: 5, 5\r\n", "hello"),
        with("content-length: +5\r\n", "hello"),
        with("content-length: -5\r\n", "hello"),
        with("content-length: 0x5\r\n", "hello"),
        with("content-length: 99999999999999999999\r\n", "hello"),
        with("content-length:\r\n", ""),
        with("transfer-encoding: chunked,\r\n", "0\r\n\r\n"),
        with("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        with("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        with("transfer-encoding: identity\r\n", ""),
        with("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        with("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"),
        with("transfer-encoding:\u{b}chunked\r\n", "0\r\n\r\n"),
        with("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        with("content_length: 5\r\n", ""),
        with("Content_Length: 0\r\ncontent-length: 5\r\n", "hello"),
        with("transfer_encoding: chunked\r\n", ""),
        with("Transfer.Encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
        with("content-length: 5\nx: y\r\n", "hello"),
        with("x: y\r\n folded\r\n", ""),
        with("x: a\rb\r\n", ""),
        with("x: a\0b\r\n", ""),
        with("host: api.test\r\n", ""),
        with("host: evil.test\r\n", ""),
        with("expect: 200-ok\r\n", ""),
        with("no colon\r\n", ""),
        with(": no name\r\n", ""),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: evil.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: api.test:8443\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: user@api.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: api.test evil.test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nhost: api.test\n\n".to_owned(),
        "POST / HTTP/1.0\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET https://evil.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET http://api.test/ HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET //evil.test/x HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET /a%2fb HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET /a\\b HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET /a/..;/b HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "GET /a%00 HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
        "CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: api.test\r\n\r\n".to_owned(),
    ];
    for case in &cases {
        let (status, reason) = answer(&bench, case).await;
        assert_eq!((status, reason.as_str()), (403, "ambiguous_request"), "{case:?}");
    }
    assert_eq!(upstream.requests(), []);
    assert_eq!(bench.denials().len(), cases.len());
}

#[tokio::test]
async fn what_is_no_request_is_400() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for case in [
        "GET  / HTTP/1.1\r\nhost: api.test\r\n\r\n",
        "GET / HTTP/2.0\r\nhost: api.test\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: api.test\r\n\r\n",
        "GET /\r\nhost: api.test\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nhost: api.test\r\n\r\n",
        "(x) / HTTP/1.1\r\nhost: api.test\r\n\r\n",
        "\u{1}\u{2}",
    ] {
        assert_eq!(answer(&bench, case).await, (400, String::new()), "{case:?}");
    }
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn a_broken_chunk_never_completes_upstream() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let head = "POST /echo HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "5\r\nhello\r\nzz\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "-1\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "0\r\ncontent-length: 5\r\n\r\n",
        "0\r\nhost: evil.test\r\n\r\n",
        "0\r\nauthorization: x\r\n\r\n",
        "0\r\n folded: x\r\n\r\n",
    ] {
        let (status, _) = answer(&bench, &format!("{head}{chunks}")).await;
        assert!(status == 400 || status == 0, "{chunks:?}: {status}");
    }
    // Whatever began upstream was aborted there.
    let (begun, aborted) = (upstream.requests().len(), upstream.log().aborted());
    for _ in 0..500 {
        if upstream.log().aborted() >= begun {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{begun} requests began, {aborted} were aborted");
}

#[tokio::test]
async fn heads_have_a_size() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let long = format!("GET / HTTP/1.1\r\nhost: api.test\r\nx: {}\r\n\r\n", "x".repeat(limits::HEAD));
    assert_eq!(answer(&bench, &long).await.0, 431);
    let many = "x: y\r\n".repeat(limits::HEADERS + 1);
    assert_eq!(answer(&bench, &format!("GET / HTTP/1.1\r\nhost: api.test\r\n{many}\r\n")).await.0, 431);
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn http2_fields_that_smuggle_are_refused() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let stream = bench.connect_tls("api.test", "api.test", &["h2"]).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (name, value) in [
        ("host", "evil.test"),
        ("content_length", "5"),
        ("transfer_encoding", "chunked"),
        ("x-http-method-override", "DELETE"),
        ("x_http_method_override", "DELETE"),
    ] {
        let request =
            http::Request::builder().uri("https://api.test/bytes?n=1").header(name, value).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let status = answer.await.unwrap().status().as_u16();
        // `methods: ["*"]` takes an override; another host or frame never passes.
        assert_eq!(status, if name.ends_with("override") { 200 } else { 403 }, "{name}");
    }
    // More data than its length says.
    let request =
        http::Request::builder().method("POST").uri("https://api.test/echo").header("content-length", "3");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let _ = body.send_data("abcGET /smuggled HTTP/1.1\r\n\r\n".into(), true);
    assert!(answer.await.is_err());
    assert!(upstream.requests().iter().all(|seen| !seen.target.contains("smuggled")));
}

#[tokio::test]
async fn another_method_is_asked_for_in_any_spelling() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let policy = "dynamic: {network: {http: [{host: api.test, methods: [POST]}]}}";
    let bench = Bench::with(policy, &ca, "api.test", &upstream);
    for name in ["X-HTTP-Method-Override", "X_HTTP_Method_Override", "x_http-method", "X_Method_Override"] {
        let request = format!("POST /echo HTTP/1.1\r\nhost: api.test\r\n{name}: DELETE\r\n\r\n");
        assert_eq!(answer(&bench, &request).await, (403, "ambiguous_request".to_owned()), "{name}");
    }
    let stream = bench.connect_tls("api.test", "api.test", &["h2"]).await;
    let mut client = http2(stream).await;
    let mut post = request(&Method::POST, "https://api.test/echo", String::new());
    post.headers_mut().insert("x_http_method_override", http::HeaderValue::from_static("DELETE"));
    assert_eq!(client.send_request(post).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn what_is_not_even_read_is_written_down() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let long = format!("GET / HTTP/1.1\r\nhost: api.test\r\nx: {}\r\n\r\n", "x".repeat(limits::HEAD));
    let chunk = "POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
    let cases = [
        (long.as_str(), "limit_exceeded"),
        ("GET /\r\n\r\n", "ambiguous_request"),
        (chunk, "ambiguous_request"),
    ];
    for (bytes, reason) in cases {
        let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
        let _ = bench.raw("api.test", bytes).await;
        let event = bench.event("connect").await;
        assert_eq!(event.reason.as_ref().map(ToString::to_string).as_deref(), Some(reason));
        assert_eq!(event.request.and_then(|request| request.host).as_deref(), Some("api.test"));
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_408_and_written_down() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    let mut stream = bench.connect("api.test", 80).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(bench.denials(), ["limit_exceeded"]);
}

#[tokio::test]
async fn a_name_too_many_is_written_down_once() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    let ask = |number: usize| bench.proxy.stand_in(&parse_name(&format!("d{number}.evil.test")).unwrap());
    assert!((0..limits::STRANGE_NAMES).all(|number| ask(number).is_ok()));
    assert!((0..100).all(|number| ask(limits::STRANGE_NAMES + number).is_err()));
    assert_eq!(bench.denials(), ["limit_exceeded"]);
    assert!(ask(0).is_ok());
}
