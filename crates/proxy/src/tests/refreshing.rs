//! Credentials that change under the revision in force: got again, over, withheld, refused by a server.

use std::time::Duration;

use chiton_testkit::Router;

use super::*;

const HOST: &str = "api.test";
const POLICY: &str = "dynamic: {network: {http: [{host: api.test, credential: {secret: 'vault://kv/key', header: x-key}, paths: ['/**']}]}}";
const FIRST: &str = "sk-first-0123456789abcdef";
const SECOND: &str = "sk-second-fedcba9876543210";

fn bench(ca: &TestCa, upstream: &Upstream) -> Bench {
    Bench::new(Setup {
        policy: POLICY,
        resolve: vec![("api.test:443", upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("vault://kv/key", FIRST, None)],
        ..Setup::default()
    })
}

fn refreshed(revision: u64, value: &str, valid: Option<Duration>) -> Revised {
    let mut revised = revised(revision, POLICY, &[("vault://kv/key", value, None)]);
    for credential in &mut revised.credentials {
        credential.valid_ms = valid.map(|valid| u64::try_from(valid.as_millis()).unwrap());
    }
    revised
}

async fn refresh(bench: &Bench, value: &str, valid: Option<Duration>) -> u64 {
    let current = bench.proxy.running.revision();
    let revision = Revision::refreshed(refreshed(1, value, valid), &current).unwrap();
    bench.proxy.apply(revision).await
}

const LONG: Option<Duration> = Some(Duration::from_secs(3600));
const OVER: Option<Duration> = Some(Duration::ZERO);

#[tokio::test]
async fn the_next_request_has_the_new_value_on_the_same_connection() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    for (value, sent) in [(None, FIRST), (Some(SECOND), SECOND)] {
        if let Some(value) = value {
            assert_eq!(refresh(&bench, value, LONG).await, 0);
        }
        stream.write_all(b"GET /bytes?n=2 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
        read_until(&mut stream, b"0\r\n\r\n").await;
        assert_eq!(upstream.requests().last().unwrap().header("x-key"), Some(sent));
    }
    assert_eq!(bench.proxy.running.revision().number, 1, "the policy is the same");
}

#[tokio::test]
async fn what_runs_goes_on_with_the_same_value_and_is_cut_for_another() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    stream.write_all(b"GET /drip?n=100000&ms=20 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("\r\n\r\n") {
        assert!(stream.read_buf(&mut begun).await.unwrap() > 0);
    }
    assert_eq!(refresh(&bench, FIRST, LONG).await, 0, "only its time is another");
    // Its response is searched for the first value only.
    assert_eq!(refresh(&bench, SECOND, LONG).await, 1);
}

#[tokio::test]
async fn a_value_whose_time_is_over_is_not_sent_and_still_taken_out() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    refresh(&bench, FIRST, Some(Duration::from_millis(300))).await;
    // Nobody comes by to say that it is over.
    let refused = loop {
        let answer = bench.get(HOST, "/").await;
        if parts(&answer).0 == StatusCode::FORBIDDEN {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        refused.contains("credential_unavailable") && refused.contains("not given by its backend"),
        "{refused}"
    );
    assert!(!refused.contains("vault://"), "the agent is not told where it is kept: {refused}");
    let count = upstream.requests().len();
    assert_eq!(bench.denials(), ["credential_unavailable"]);
    let current = bench.proxy.running.revision();
    assert!(current.gives_to(&chiton_policy::Host::parse(HOST).unwrap()), "responses are still searched");
    let mut said = http::HeaderMap::new();
    said.insert("x-said", FIRST.parse().unwrap());
    current.redactors.scrub_headers(&mut said);
    assert!(!said["x-said"].to_str().unwrap().contains(FIRST));
    assert_eq!(upstream.requests().len(), count);
    // It comes again.
    refresh(&bench, SECOND, LONG).await;
    assert_eq!(parts(&bench.get(HOST, "/").await).0, StatusCode::OK);
}

#[tokio::test]
async fn one_without_a_value_is_the_one_before() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    refresh(&bench, FIRST, LONG).await;
    refresh(&bench, "", None).await;
    assert_eq!(parts(&bench.get(HOST, "/").await).0, StatusCode::OK);
    refresh(&bench, "", OVER).await;
    assert_eq!(parts(&bench.get(HOST, "/").await).0, StatusCode::FORBIDDEN);
    refresh(&bench, "", None).await;
    assert_eq!(
        parts(&bench.get(HOST, "/").await).0,
        StatusCode::FORBIDDEN,
        "withheld, and nothing new is known"
    );
    let current = bench.proxy.running.revision();
    let stale = Revision::refreshed(refreshed(2, SECOND, LONG), &current);
    assert!(matches!(stale, Err(RevisionError::NotCurrent { offered: 2, current: 1 })));
}

#[tokio::test]
async fn a_401_is_told_once_and_only_of_requests_with_a_credential() {
    let ca = TestCa::new();
    let router =
        Router::new().any("/", |_| async { chiton_testkit::server::answer(401, "text/plain", "who?") });
    let upstream = Upstream::tls(&ca, &[HOST], router);
    let bench = bench(&ca, &upstream);
    let waiting = tokio::spawn({
        let running = bench.proxy.running.clone();
        async move { running.rejected().await }
    });
    for _ in 0..3 {
        assert_eq!(parts(&bench.get(HOST, "/").await).0, StatusCode::UNAUTHORIZED);
    }
    let told = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), ["vault://kv/key"]);
    let plain = Bench::with("dynamic: {network: {http: [{host: api.test}]}}", &ca, HOST, &upstream);
    assert_eq!(parts(&plain.get(HOST, "/").await).0, StatusCode::UNAUTHORIZED);
    let none = tokio::time::timeout(Duration::from_millis(50), plain.proxy.running.rejected()).await;
    assert!(none.is_err());
}
