//! The operator's forward proxy: everything that leaves goes through it, whatever it answers nothing goes beside it, and
//! nothing of what it says or was told is seen inside.

use std::time::Duration;

use chiton_api::forward::Exception;
use chiton_testkit::{Forward, RawUpstream, Router, raw::Script, routes};

use super::{
    websocket::{Client, handshake},
    *,
};
use crate::websocket::frame::Opcode;

const PASSWORD: &str = "agent-7:hunter2-hunter2";
/// Where nothing is but by the proxy.
const AT: &str = "203.0.113.9:443";

struct Told {
    resolves: bool,
    except: &'static [&'static str],
    credential: Option<&'static str>,
}

impl Default for Told {
    fn default() -> Self {
        Self { resolves: false, except: &[], credential: Some(PASSWORD) }
    }
}

fn forward(url: &str, told: &Told) -> ForwardProxy {
    let credential = |value: &str| Credential {
        reference: "local://corp-proxy".parse().unwrap(),
        value: SecretValue::new(value.as_bytes().to_vec()),
        hosts: None,
        valid_ms: None,
    };
    ForwardProxy {
        url: url.parse().unwrap(),
        credential: told.credential.map(credential),
        resolves: told.resolves,
        except: told.except.iter().map(|text| text.parse::<Exception>().unwrap()).collect(),
    }
}

/// A bench behind a proxy, where `resolve` says what names lead to.
fn behind(policy: &str, ca: &TestCa, resolve: &[(&str, &str)], forward: ForwardProxy) -> Bench {
    let resolve = resolve.iter().map(|(name, at)| (*name, at.parse().unwrap())).collect();
    let roots = vec![ca.pem().to_owned()];
    Bench::new(Setup { policy, resolve, roots, forward: Some(forward), ..Setup::default() })
}

fn real(like: &Forward<'_>) -> chiton_testkit::ForwardProxy {
    chiton_testkit::ForwardProxy::start(like)
}

fn http(proxy: &chiton_testkit::ForwardProxy, told: &Told) -> ForwardProxy {
    forward(&format!("http://{}", proxy.address()), told)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

fn nothing_of_the_credential(text: &str) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(PASSWORD);
    assert!(!text.contains(&encoded) && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn https_is_a_tunnel_to_the_checked_address_kept_for_its_name_alone() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &["a.pool.test", "b.pool.test"], Router::echo());
    let proxy = real(&Forward {
        places: vec![(AT, server.address())],
        credential: Some(PASSWORD),
        ..Forward::default()
    });
    let policy = "dynamic: {network: {http: [{host: '*.pool.test'}]}}";
    let resolve = [("a.pool.test:443", AT), ("b.pool.test:443", AT)];
    let bench = behind(policy, &ca, &resolve, http(&proxy, &Told::default()));
    for host in ["a.pool.test", "b.pool.test", "a.pool.test", "b.pool.test"] {
        let answer = bench.get(host, "/headers").await;
        assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
        nothing_of_the_credential(&answer);
    }
    assert_eq!(proxy.asked(), [AT, AT]);
    assert!(server.requests().iter().all(|seen| seen.sni.as_deref() == Some(seen.host.as_str())));
    assert!(server.requests().iter().all(|seen| seen.header("proxy-authorization").is_none()));
}

#[tokio::test]
async fn plain_http_and_a_proxy_over_tls() {
    let ca = TestCa::new();
    let server = Upstream::plain(Router::echo());
    let at = "203.0.113.9:80";
    let proxy = real(&Forward {
        places: vec![(at, server.address())],
        credential: Some(PASSWORD),
        tls: Some((&ca, "proxy.test")),
        ..Forward::default()
    });
    let policy = "dynamic: {network: {http: [{host: a.test, scheme: http}]}}";
    let place = proxy.address().to_string();
    let resolve = [("a.test:80", at), ("proxy.test:3128", place.as_str())];
    let get = async |forward: ForwardProxy, roots: &TestCa| {
        let bench = behind(policy, roots, &resolve, forward);
        let mut stream = bench.connect("a.test", 80).await;
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = get(forward("https://proxy.test:3128", &Told::default()), &ca).await;
    assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
    assert_eq!(proxy.asked(), [at]);
    // Where its certificate does not verify, the credential is not sent.
    let answer = get(forward("https://proxy.test:3128", &Told::default()), &TestCa::new()).await;
    assert!(
        answer.contains("x-chiton-denied: upstream_proxy") && answer.contains("does not verify"),
        "{answer}"
    );
    assert_eq!(proxy.asked(), [at]);
}

#[tokio::test]
async fn a_websocket_opens_in_a_tunnel() {
    let ca = TestCa::new();
    let server = super::websocket::server(&ca);
    let proxy = real(&Forward { places: vec![(AT, server.address())], ..Forward::default() });
    let bench = behind(super::websocket::OPEN, &ca, &[("api.test:443", AT)], http(&proxy, &Told::default()));
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream.write_all(handshake("/ws", "").as_bytes()).await.unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        within(stream.read_exact(&mut byte)).await.unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let reader = crate::websocket::frame::Reader::new(crate::websocket::frame::Side::Server, false);
    let mut client = Client { stream, reader, input: bytes::BytesMut::new() };
    client.send(true, Opcode::Text, b"hello").await;
    assert_eq!(client.message().await.1, b"hello");
    assert_eq!(proxy.asked(), [AT]);
}

const TCP: &str = "dynamic: {network: {tcp: [{host: db.test, ports: [5432]}]}}";

/// What the server said first comes first, also where it came with the proxy's own answer; each half ends alone.
#[tokio::test]
async fn a_tcp_rule_is_carried_in_a_tunnel() {
    let ca = TestCa::new();
    let at = "203.0.113.9:5432";
    for (at_once, tls) in [(false, false), (true, false), (true, true)] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = vec![(at, server.local_addr().unwrap())];
        let proxy =
            real(&Forward { places, at_once, tls: tls.then_some((&ca, "proxy.test")), ..Forward::default() });
        let place = proxy.address().to_string();
        let scheme = if tls { "https" } else { "http" };
        let told = forward(&format!("{scheme}://proxy.test:3128"), &Told::default());
        let bench = behind(TCP, &ca, &[("db.test:5432", at), ("proxy.test:3128", &place)], told);
        let mut agent = bench.connect("db.test", 5432).await;
        let (mut accepted, _) = within(server.accept()).await.unwrap();
        accepted.write_all(b"hello").await.unwrap();
        let mut greeting = [0; 5];
        within(agent.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"hello");
        agent.write_all(b"select 1").await.unwrap();
        let mut asked = [0; 8];
        within(accepted.read_exact(&mut asked)).await.unwrap();
        accepted.write_all(b"1").await.unwrap();
        drop(accepted);
        let mut rest = Vec::new();
        within(agent.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"1");
        drop(agent);
        let answer = bench.event("disconnect").await.response.unwrap();
        assert_eq!((answer.sent, answer.bytes), (Some(8), Some(6)));
        assert_eq!(proxy.asked(), [at]);
    }
}

/// Every answer but a tunnel is one line of ours, an event with the status, and nothing beside the proxy.
#[tokio::test]
async fn whatever_the_proxy_answers_nothing_of_it_is_passed_on() {
    let ca = TestCa::new();
    let policy = "dynamic: {network: {http: [{host: a.test}]}}";
    let leak =
        |status: &str| format!("HTTP/1.1 {status} hunter2-hunter2\r\nx-leak: hunter2\r\n\r\nhunter2-hunter2");
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100 << 10));
    for (says, said, status) in [
        (leak("407"), "it refuses the credential (407) that `[upstream] proxy_credential`", Some(407)),
        (leak("403"), "it refuses `CONNECT 203.0.113.9:443` (403): one that allows by name", Some(403)),
        (leak("502"), "it could not connect to `203.0.113.9:443` (502)", Some(502)),
        (leak("301"), "it refuses `CONNECT 203.0.113.9:443` (301)", Some(301)),
        (leak("200"), "it sent bytes after its answer", None),
        ("hunter2-hunter2\r\n\r\n".to_owned(), "the head of its response is malformed", None),
        (endless, "the head of its response is too large", None),
        ("HTTP/1.1 200".to_owned(), "it closed the connection", None),
    ] {
        let proxy = RawUpstream::plain(Script::Send(says.into_bytes()));
        let told = forward(&format!("http://{}", proxy.address()), &Told::default());
        let bench = behind(policy, &ca, &[("a.test:443", AT)], told);
        let answer = bench.get("a.test", "/").await;
        assert_eq!(parts(&answer).0, StatusCode::BAD_GATEWAY, "{answer}");
        assert!(
            answer.contains("x-chiton-denied: upstream_proxy") && answer.contains(said),
            "{said}: {answer}"
        );
        nothing_of_the_credential(&answer);
        assert_eq!(bench.denials(), ["upstream_proxy"]);
        let denied = bench.events().into_iter().find(|event| event.decision == Some(Decision::Deny)).unwrap();
        assert_eq!(denied.response.and_then(|response| response.status), status, "{said}");
        nothing_of_the_credential(&format!("{:?}", bench.events()));
    }
}

#[tokio::test]
async fn without_a_credential_or_without_a_proxy_nothing_leaves() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &["a.test"], Router::echo());
    let policy = "dynamic: {network: {http: [{host: a.test}], tcp: [{host: db.test, ports: [5432]}]}}";
    let resolve = [("a.test:443", AT), ("db.test:5432", AT)];
    let proxy = real(&Forward {
        places: vec![(AT, server.address())],
        credential: Some(PASSWORD),
        ..Forward::default()
    });
    let told = Told { credential: None, ..Told::default() };
    let bench = behind(policy, &ca, &resolve, http(&proxy, &told));
    let answer = bench.get("a.test", "/").await;
    assert!(answer.contains("`[upstream] proxy_credential` of config.toml names none"), "{answer}");
    // A `tcp` connection is reset, and says why in its event.
    let mut agent = bench.connect("db.test", 5432).await;
    assert!(within(agent.read(&mut [0])).await.is_err());
    assert_eq!(bench.denials(), ["upstream_proxy"; 2]);
    assert_eq!(server.log().connections(), 0);
    let gone = http(&proxy, &Told::default());
    drop(proxy);
    let bench = behind(policy, &ca, &resolve, gone);
    let answer = bench.get("a.test", "/").await;
    assert!(
        answer.contains("x-chiton-denied: upstream_proxy") && answer.contains("cannot connect to it"),
        "{answer}"
    );
    assert_eq!(server.log().connections(), 0);
}

#[tokio::test]
async fn exceptions_and_this_machine_are_dialled_directly() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &["a.test"], Router::echo());
    let policy = "dynamic: {network: {http: [{host: a.test, allowed_addresses: [127.0.0.0/8]}]}}";
    let proxy = real(&Forward::default());
    let here = server.address().to_string();
    let bench = behind(policy, &ca, &[("a.test:443", &here)], http(&proxy, &Told::default()));
    assert_eq!(parts(&bench.get("a.test", "/").await).0, StatusCode::OK);
    assert_eq!(proxy.log().connections(), 0);

    let told = Told { except: &["a.test", ".corp.test", "203.0.113.0/24"], ..Told::default() };
    let via = crate::upstream::via::Via::new(http(&proxy, &told));
    for (host, address, direct) in [
        ("a.test", "198.51.100.1:1", true),
        ("b.a.test", "198.51.100.1:1", false),
        ("git.corp.test", "198.51.100.1:1", true),
        ("c.test", "203.0.113.7:1", true),
        ("c.test", "198.51.100.1:1", false),
        ("c.test", "127.0.0.2:1", true),
        ("c.test", "[::1]:1", true),
        ("c.test", "[::ffff:127.0.0.1]:1", true),
        ("c.test", "169.254.169.254:80", true),
        ("c.test", "0.0.0.0:80", true),
    ] {
        let host = chiton_policy::Host::parse(host).unwrap();
        assert_eq!(via.is_direct(&host, address.parse().unwrap()), direct, "{host} {address}");
    }
}

/// Every address is checked before the proxy is asked for it.
#[tokio::test]
async fn the_proxy_is_not_asked_for_what_may_not_be_dialled() {
    let ca = TestCa::new();
    let proxy = real(&Forward::default());
    let policy = "dynamic: {network: {http: [{host: a.example.com}, {host: 169.254.169.254}, {host: 10.0.0.1}, \
                  {host: b.example.com, allowed_addresses: [192.0.2.0/24]}]}}";
    for resolves in [false, true] {
        let forward = Some(http(&proxy, &Told { resolves, ..Told::default() }));
        let mut system = SystemNames::default();
        system.add("a.example.com", "10.1.2.3".parse().unwrap());
        system.add("b.example.com", "203.0.113.9".parse().unwrap());
        let roots = vec![ca.pem().to_owned()];
        let bench = Bench::new(Setup { policy, system, forward, roots, ..Setup::default() });
        for host in ["169.254.169.254", "10.0.0.1", "a.example.com", "b.example.com"] {
            let answer = bench.get(host, "/").await;
            assert!(answer.contains("x-chiton-denied: private_address"), "{host}: {answer}");
        }
        assert_eq!(proxy.log().connections(), 0);
    }
}

#[tokio::test]
async fn a_name_that_the_proxy_resolves_is_judged_by_what_it_says() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &["api.example.com", "git.corp"], Router::echo());
    let at = server.address();
    let proxy = real(&Forward {
        places: vec![("api.example.com:443", at), ("git.corp:443", at)],
        ..Forward::default()
    });
    let policy = "dynamic: {network: {http: [{host: api.example.com}, {host: git.corp, private_addresses: true}, \
                  {host: wiki.corp}, {host: localhost, private_addresses: true}, {host: metadata.google.internal, \
                  private_addresses: true}, {host: b.example.com, allowed_addresses: [203.0.113.0/24]}]}}";
    let bench = behind(policy, &ca, &[], http(&proxy, &Told { resolves: true, ..Told::default() }));
    for host in ["api.example.com", "git.corp"] {
        let answer = bench.get(host, "/").await;
        assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
    }
    for (host, why) in [
        ("wiki.corp", "`private_addresses: true` on the rule would allow it"),
        ("localhost", "a machine's own side"),
        ("metadata.google.internal", "a metadata service"),
        ("b.example.com", "`allowed_addresses`"),
    ] {
        let answer = bench.get(host, "/").await;
        assert!(
            answer.contains("x-chiton-denied: private_address") && answer.contains(why),
            "{host}: {answer}"
        );
    }
    assert_eq!(proxy.asked(), ["api.example.com:443", "git.corp:443"]);
}

#[tokio::test]
async fn tls_is_passed_through_in_a_tunnel() {
    let ca = TestCa::new();
    let server =
        Upstream::tls_http1(&ca, &["pin.test"], Router::new().any("/", routes::echo::answer_request));
    let proxy = real(&Forward { places: vec![(AT, server.address())], ..Forward::default() });
    let policy = "dynamic: {network: {http: [{host: pin.test, tls: passthrough}]}}";
    let bench = behind(policy, &ca, &[("pin.test:443", AT)], http(&proxy, &Told::default()));
    let stream = bench.connect("pin.test", 443).await;
    let config = client_config(&Roots::only(&[ca.pem().to_owned()]).unwrap(), Alpn::Http1).unwrap();
    let name = ServerName::try_from("pin.test").unwrap();
    let mut stream = within(TlsConnector::from(config).connect(name, stream)).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: pin.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(proxy.asked(), [AT]);
}
