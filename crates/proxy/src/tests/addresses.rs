//! Where a permit may lead: names that resolve to what they must not, certificates that do not verify.

use chiton_testkit::Router;

use super::*;

#[tokio::test]
async fn addresses_of_our_own_side_are_refused() {
    let policy = "dynamic: {network: {http: [\
        {host: 127.0.0.1}, {host: 169.254.169.254}, {host: 10.0.0.1}, {host: 0.0.0.0}, {host: '[::1]'}, \
        {host: '100.64.0.1'}, {host: 'loop.test'}, {host: '192.168.0.1', private_addresses: true}]}}";
    let upstream = Upstream::plain(Router::echo());
    let mut system = SystemNames::default();
    system.add("loop.test", "127.0.0.1".parse().unwrap());
    let bench = Bench::new(Setup { policy, system, ..Setup::default() });
    for host in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "0.0.0.0", "100.64.0.1", "loop.test"] {
        let answer = bench.get(host, "/").await;
        assert!(answer.contains("x-chiton-denied: private_address"), "{host}: {answer}");
        assert_eq!(parts(&answer).0, StatusCode::FORBIDDEN);
    }
    assert_eq!(upstream.log().connections(), 0);
    assert_eq!(bench.denials(), ["private_address"; 6]);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_refused() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let policy = "dynamic: {network: {http: [{host: api.test}]}}";
    // Another authority, and another name.
    for upstream in [
        Upstream::tls(&other, &["api.test"], Router::echo()),
        Upstream::tls(&ca, &["b.test"], Router::echo()),
    ] {
        let bench = Bench::with(policy, &ca, "api.test", &upstream);
        let answer = bench.get("api.test", "/").await;
        assert_eq!(parts(&answer).0, StatusCode::BAD_GATEWAY);
        assert!(answer.contains("x-chiton-denied: upstream_tls"), "{answer}");
        assert_eq!(upstream.requests(), []);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_refusal() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let policy = "dynamic: {network: {http: [{host: api.test}, {host: nowhere.test}]}}";
    let bench = Bench::new(Setup { policy, resolve: vec![("api.test:443", gone)], ..Setup::default() });
    for host in ["api.test", "nowhere.test"] {
        let answer = bench.get(host, "/").await;
        let (status, head, body) = parts(&answer);
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(!head.contains("x-chiton-denied") && body.contains("about:blank"), "{answer}");
    }
    assert_eq!(bench.denials(), Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_is_never_used_for_another_name() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["a.test", "b.test"], Router::echo());
    let policy = "dynamic: {network: {http: [{host: a.test}, {host: b.test}]}}";
    let at = upstream.address();
    let bench = Bench::new(Setup {
        policy,
        resolve: vec![("a.test:443", at), ("b.test:443", at)],
        roots: vec![ca.pem().to_owned()],
        ..Setup::default()
    });
    for host in ["a.test", "b.test", "a.test", "b.test"] {
        assert_eq!(parts(&bench.get(host, "/bytes?n=1").await).0, StatusCode::OK);
    }
    assert_eq!(upstream.log().connections(), 2);
    assert!(upstream.requests().iter().all(|seen| seen.sni.as_deref() == Some(seen.host.as_str())));
}

#[tokio::test]
async fn only_the_addresses_that_a_rule_names() {
    let policy = "dynamic: {network: {http: [{host: api.test, allowed_addresses: [127.0.0.1/32]}]}}";
    for (address, refused) in [("127.0.0.1", false), ("127.0.0.2", true), ("192.0.2.1", true)] {
        let mut system = SystemNames::default();
        system.add("api.test", address.parse().unwrap());
        let bench = Bench::new(Setup { policy, system, ..Setup::default() });
        let answer = bench.get("api.test", "/").await;
        // Where it may be dialled nothing of this name answers: that is no refusal.
        assert_eq!(parts(&answer).0 == StatusCode::FORBIDDEN, refused, "{address}: {answer}");
        assert_eq!(bench.denials(), vec!["private_address"; usize::from(refused)], "{address}");
    }
}
