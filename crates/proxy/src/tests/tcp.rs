//! `network.tcp`: carried unread by name and port, cut by a new revision, refused untouched.

use std::time::Duration;

use super::*;

const OPEN: &str = "dynamic: {network: {tcp: [{host: db.test, ports: [5432]}]}}";
const CLOSED: &str = "dynamic: {network: {tcp: [{host: db.test, ports: [6379]}]}}";

/// A server on loopback, and the bench in which it is `db.test:5432`.
async fn bench(policy: &str) -> (Bench, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let resolve = vec![("db.test:5432", server.local_addr().unwrap())];
    (Bench::new(Setup { policy, resolve, ..Setup::default() }), server)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

#[tokio::test]
async fn the_server_speaks_first_and_each_half_ends_alone() {
    let (bench, server) = bench(OPEN).await;
    let mut agent = bench.connect("db.test", 5432).await;
    let (mut accepted, _) = within(server.accept()).await.unwrap();
    accepted.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    within(agent.read_exact(&mut greeting)).await.unwrap();
    agent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    agent.shutdown().await.unwrap();
    let mut asked = Vec::new();
    within(accepted.read_to_end(&mut asked)).await.unwrap();
    assert_eq!(asked, b"GET / HTTP/1.1\r\n", "not read for HTTP");
    accepted.write_all(b"late").await.unwrap();
    drop(accepted);
    let mut rest = Vec::new();
    within(agent.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"late");
    let connect = bench.event("connect").await;
    assert_eq!((connect.decision, connect.rule.as_deref()), (Some(Decision::Allow), Some("tcp[0]")));
    let answer = bench.event("disconnect").await.response.unwrap();
    assert_eq!((answer.sent, answer.bytes), (Some(16), Some(9)));
}

#[tokio::test]
async fn a_new_revision_resets_both_ends_before_apply_returns() {
    let (bench, server) = bench(OPEN).await;
    let mut agent = bench.connect("db.test", 5432).await;
    let (mut accepted, _) = within(server.accept()).await.unwrap();
    assert_eq!(bench.apply(2, OPEN).await.unwrap(), 0);
    accepted.write_all(b"x").await.unwrap();
    within(agent.read_exact(&mut [0])).await.unwrap();
    assert_eq!(bench.apply(3, CLOSED).await.unwrap(), 1);
    assert!(!bench.proxy.running.is_busy());
    let ended = within(agent.read(&mut [0])).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    let ended = within(accepted.read(&mut [0])).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bench.event("cut").await.reason.unwrap().as_str(), "port_not_allowed");
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_cut_too() {
    let (bench, server) = bench(OPEN).await;
    let agent = bench.connect("db.test", 5432).await;
    let (mut accepted, _) = within(server.accept()).await.unwrap();
    // Until nothing more is taken: one buffer here, and what the kernel holds.
    let block = vec![7; 1 << 20];
    let mut taken = 0;
    while let Ok(Ok(more)) = tokio::time::timeout(Duration::from_secs(1), accepted.write(&block)).await {
        taken += more;
        assert!(taken < 256 << 20, "a server that sends is not held back");
    }
    assert_eq!(bench.apply(2, CLOSED).await.unwrap(), 1);
    assert!(!bench.proxy.running.is_busy());
    drop(agent);
}

#[tokio::test]
async fn another_port_and_a_private_address_are_reset_without_a_dial() {
    let (bench, server) = bench(CLOSED).await;
    let mut agent = bench.connect("db.test", 5432).await;
    agent.write_all(b"\x00\x00").await.unwrap();
    assert!(within(agent.read(&mut [0])).await.is_err());
    assert_eq!(bench.denials(), ["scheme_not_allowed"]);
    let quiet = tokio::time::timeout(Duration::from_millis(50), server.accept()).await;
    assert!(quiet.is_err(), "refused is untouched");

    let mut system = SystemNames::default();
    system.add("db.test", "10.1.2.3".parse().unwrap());
    let bench = Bench::new(Setup { policy: OPEN, system, ..Setup::default() });
    let mut agent = bench.connect("db.test", 5432).await;
    assert!(within(agent.read(&mut [0])).await.is_err());
    assert_eq!(bench.denials(), ["private_address"]);
}

#[tokio::test]
async fn an_event_that_cannot_be_written_stops_the_connection() {
    let (bench, server) = bench(OPEN).await;
    let port = bench.proxy.stand_in(&parse_name("db.test").unwrap());
    assert!(port.is_ok());
    bench.events.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut agent = bench.connect("db.test", 5432).await;
    assert!(within(agent.read(&mut [0])).await.is_err());
    let quiet = tokio::time::timeout(Duration::from_millis(50), server.accept()).await;
    assert!(quiet.is_err());
}

#[tokio::test]
async fn audit_lets_pass_what_no_rule_allows() {
    let (bench, server) = bench("dynamic: {mode: audit}").await;
    let mut agent = bench.connect("db.test", 5432).await;
    agent.write_all(b"\x00\x01").await.unwrap();
    let (mut accepted, _) = within(server.accept()).await.unwrap();
    let mut asked = [0; 2];
    within(accepted.read_exact(&mut asked)).await.unwrap();
    assert_eq!(asked, *b"\x00\x01");
    let event = bench.event("connect").await;
    assert_eq!(event.decision, Some(Decision::Audit));
    assert_eq!(event.reason.unwrap().as_str(), "host_not_allowed");
}

const PINNED: &str = "dynamic: {network: {http: [{host: pin.test, tls: passthrough}]}}";

/// A client that trusts the server's own authority and not the sandbox's, asking for this name.
async fn pinned(bench: &Bench, ca: &TestCa, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = bench.connect("pin.test", 443).await;
    let roots = Roots::only(&[ca.pem().to_owned()]).unwrap();
    let config = client_config(&roots, Alpn::Http1).unwrap();
    TlsConnector::from(config).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

#[tokio::test]
async fn tls_is_passed_through_to_the_name_that_it_asks_for_and_to_no_other() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["pin.test", "other.test"], chiton_testkit::Router::echo());
    let bench = Bench::with(PINNED, &ca, "pin.test", &upstream);
    let mut stream = within(pinned(&bench, &ca, "pin.test")).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: pin.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let connect = bench.event("connect").await;
    assert_eq!((connect.decision, connect.rule.as_deref()), (Some(Decision::Allow), Some("http[0]")));
    assert_eq!(connect.request.unwrap().scheme.unwrap().as_str(), "tls");
    // The leaf was the server's own: the sandbox's authority is not asked.
    assert!(within(pinned(&bench, &ca, "other.test")).await.is_err());
    assert_eq!(bench.denials(), ["ambiguous_request"]);
    assert_eq!(upstream.log().connections(), 1);
}

/// A `ClientHello` with so many bytes of protocols that nobody speaks.
fn hello(ca: &TestCa, name: &str, padding: u16) -> Vec<u8> {
    let roots = Roots::only(&[ca.pem().to_owned()]).unwrap();
    let mut config = ClientConfig::clone(&client_config(&roots, Alpn::Http1).unwrap());
    config.alpn_protocols.extend((0..padding / 256).map(|number| number.to_be_bytes().repeat(255 / 2)));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    assert!(bytes.len() > usize::from(padding));
    bytes
}

#[tokio::test]
async fn a_long_hello_is_read_to_its_end() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["pin.test"], chiton_testkit::Router::echo());
    let policy = "dynamic: {network: {http: [{host: pin.test, tls: passthrough}, \
                  {host: 192.0.2.7, tls: passthrough}]}}";
    let at = upstream.address();
    let resolve = vec![("pin.test:443", at), ("192.0.2.7:443", at)];
    let bench = Bench::new(Setup { policy, resolve, ..Setup::default() });
    // What one read takes, one record, and several.
    for padding in [0, 8 << 10, 40 << 10] {
        for (to, name, passes) in [
            ("pin.test", "pin.test", true),
            ("pin.test", "other.test", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "pin.test", false),
        ] {
            let before = bench.denials().len();
            let mut agent = bench.connect(to, 443).await;
            agent.write_all(&hello(&ca, name, padding)).await.unwrap();
            let mut first = [0];
            let read = within(agent.read_exact(&mut first)).await;
            assert_eq!(read.is_ok() && first == [22], passes, "{to} {name} {padding}");
            assert_eq!(bench.denials().len() - before, usize::from(!passes), "{to} {name} {padding}");
        }
    }
}

#[tokio::test]
async fn a_hello_that_cannot_be_read_goes_to_no_address_either() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["pin.test"], chiton_testkit::Router::echo());
    let policy = "dynamic: {network: {http: [{host: 192.0.2.7, tls: passthrough}]}}";
    let resolve = vec![("192.0.2.7:443", upstream.address())];
    let bench = Bench::new(Setup { policy, resolve, ..Setup::default() });
    let mut hello = hello(&ca, "pin.test", 0);
    // The kind of its name becomes one that nobody knows.
    let at = hello.windows(8).position(|bytes| bytes == b"pin.test").unwrap();
    hello[at - 3] = 7;
    let mut agent = bench.connect("192.0.2.7", 443).await;
    agent.write_all(&hello).await.unwrap();
    assert!(within(agent.read(&mut [0])).await.is_err());
    assert_eq!(bench.denials(), ["ambiguous_request"]);
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn a_hello_in_pieces_is_judged_whole_and_one_without_a_name_is_refused() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["pin.test"], chiton_testkit::Router::echo());
    let bench = Bench::with(PINNED, &ca, "pin.test", &upstream);
    let mut agent = bench.connect("pin.test", 443).await;
    agent.set_nodelay(true).unwrap();
    for piece in hello(&ca, "pin.test", 0).chunks(7) {
        agent.write_all(piece).await.unwrap();
        agent.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    // The server's answer is TLS: its own hello.
    let mut first = [0];
    within(agent.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, [22]);
    // An address as a name is no server name.
    let mut agent = bench.connect("pin.test", 443).await;
    agent.write_all(&hello(&ca, "192.0.2.1", 0)).await.unwrap();
    assert!(within(agent.read(&mut [0])).await.is_err());
    assert_eq!(bench.denials(), ["ambiguous_request"]);
}
