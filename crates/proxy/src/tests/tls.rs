//! The first bytes of a connection, and whom its TLS names.

use chiton_testkit::Router;

use super::*;

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

#[tokio::test]
async fn a_split_client_hello_is_read() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let tcp = bench.connect("api.test", 443).await;
    tcp.set_nodelay(true).unwrap();
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("api.test").unwrap();
    let client = bench.client(&["http/1.1"]);
    let talk = tokio::spawn(async move {
        let mut stream = TlsConnector::from(client).connect(name, far).await.unwrap();
        stream
            .write_all(b"GET /bytes?n=5 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    });
    let (mut down, mut up) = tcp.into_split();
    let mut hello = Vec::new();
    near.read_buf(&mut hello).await.unwrap();
    for byte in hello {
        up.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (mut to, mut from) = tokio::io::split(near);
    let _ = tokio::join!(tokio::io::copy(&mut to, &mut up), tokio::io::copy(&mut down, &mut from), async {
        assert_eq!(parts(&talk.await.unwrap()).0, StatusCode::OK);
    });
}

#[tokio::test]
async fn a_server_name_that_is_not_the_resolved_name_is_a_contradiction() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut stream = bench.connect_tls("evil.test", "api.test", &["http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    let mut stream = bench.connect_tls("api.test", "evil.test", &["http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn without_a_server_name_the_resolved_name_stands_for_it() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut config = ClientConfig::clone(&bench.client(&["http/1.1"]));
    config.enable_sni = false;
    let tcp = bench.connect("api.test", 443).await;
    let name = ServerName::try_from("api.test").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    stream
        .write_all(b"GET /bytes?n=1 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parts(&answer).0, StatusCode::OK);
}

#[tokio::test]
async fn neither_tls_nor_http_is_reset_and_written_down() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    for bytes in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"\x16\x02\x00\x00\x05hello", b"\x00\x00\x00\x0cMQTT"] {
        let mut stream = bench.connect("api.test", 443).await;
        stream.write_all(bytes).await.unwrap();
        let mut buffer = [0; 16];
        let error = stream.read(&mut buffer).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(bench.denials(), ["scheme_not_allowed"; 3]);
}

#[tokio::test]
async fn a_client_that_waits_for_a_greeting_is_reset() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    for host in ["api.test", "evil.test"] {
        let mut stream = bench.connect(host, 22).await;
        assert!(stream.read(&mut [0; 16]).await.is_err());
    }
    assert_eq!(bench.denials(), ["scheme_not_allowed", "host_not_allowed"]);
}

#[tokio::test]
async fn an_address_that_stands_for_no_name_is_reset() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    let mut stream = bench.connect_to("198.18.77.7:443".parse().unwrap()).await;
    let mut buffer = [0; 16];
    assert!(stream.read(&mut buffer).await.is_err());
    assert_eq!(bench.denials(), ["host_not_allowed"]);
}

#[tokio::test]
async fn an_agent_that_does_not_trust_us_is_written_down() {
    let bench = Bench::new(Setup { policy: OPEN, ..Setup::default() });
    let stream = bench.connect("api.test", 443).await;
    let roots = Roots::only(&[TestCa::new().pem().to_owned()]).unwrap();
    let name = ServerName::try_from("api.test").unwrap();
    let config = client_config(&roots, Alpn::Http1).unwrap();
    assert!(TlsConnector::from(config).connect(name, stream).await.is_err());
    assert_eq!(bench.event("tls_handshake").await.request.unwrap().host.as_deref(), Some("api.test"));
}
