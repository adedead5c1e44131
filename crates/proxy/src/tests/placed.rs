//! Credentials of rules: in every place and protocol, after the decision, to their host only, and never back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chiton_testkit::{Router, routes, server};

use super::*;
use crate::websocket::frame::Opcode;

const HOST: &str = "api.test";
/// Every place, each below a path of its own, and one path without.
const PLACES: &str = "dynamic: {network: {http: [
  {host: api.test, methods: ['*'], paths: [/bearer/**], websocket: true, credential: 'local://key'},
  {host: api.test, methods: ['*'], paths: [/header/**], websocket: true, credential: {secret: 'local://key', header: X-Own, format: 'Key {}'}},
  {host: api.test, methods: ['*'], paths: [/basic/**], websocket: true, credential: {secret: 'local://key', basic: {user: me}}},
  {host: api.test, methods: ['*'], paths: [/query/**], websocket: true, credential: {secret: 'local://key', query: own}},
  {host: api.test, methods: ['*'], paths: [/cookie/**], websocket: true, credential: {secret: 'local://key', cookie: own}},
  {host: api.test, methods: ['*'], paths: [/without/**, /ws], websocket: true},
  {host: other.test, methods: ['*'], paths: [/**], websocket: true}]}}";

fn basic() -> String {
    STANDARD.encode(format!("me:{SECRET}"))
}

fn bench(ca: &TestCa, address: SocketAddr) -> Bench {
    with(ca, address, PLACES, ("local://key", SECRET, None))
}

fn with(
    ca: &TestCa,
    address: SocketAddr,
    policy: &str,
    credential: (&str, &str, Option<Vec<&str>>),
) -> Bench {
    Bench::new(Setup {
        policy,
        resolve: vec![("api.test:443", address), ("other.test:443", address), ("api.test:80", address)],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![credential],
        ..Setup::default()
    })
}

fn ask(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: {HOST}\r\n{more}connection: close\r\n\r\n")
}

/// No promised form of the secret, nor of what Basic makes of it.
fn unseen(answer: &str, what: &str) {
    for value in [SECRET.to_owned(), basic()] {
        assert!(!answer.contains(&value), "{what}: {answer}");
        for pad in ["", "x", "xx"] {
            let coded = STANDARD.encode(format!("{pad}{value}"));
            // Without the characters that hang on the neighbours.
            let inner = &coded[if pad.is_empty() { 0 } else { 4 }..coded.len() - 4];
            assert!(!answer.contains(inner), "{what}: {answer}");
        }
    }
}

const SMUGGLED: &str = "Authorization: Bearer mine\r\nAUTHORIZATION: Basic mine\r\nx-own: mine\r\nX-Own: mine\r\n\
    x-api-key: mine\r\nprivate-token: mine\r\ncookie: own=mine\r\nCookie: a=1; own=mine\r\n";

#[tokio::test]
async fn every_place_has_ours_and_nothing_of_the_agents() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, upstream.address());
    let basic = format!("Basic {}", basic());
    let bearer = format!("Bearer {SECRET}");
    let key = format!("Key {SECRET}");
    let cookie = format!("own={SECRET}");
    for (place, header, wanted) in [
        ("bearer", "authorization", bearer.as_str()),
        ("header", "x-own", &key),
        ("basic", "authorization", &basic),
        ("query", "", ""),
        ("cookie", "cookie", &cookie),
    ] {
        let target = format!("/{place}/x?key=mine&x=1&own=1{0}&OWN=mine&%6fwn=mine&token=mine", "");
        let smuggled = match place {
            // Where it is no place for a credential, a field of this name is the agent's business.
            "header" => SMUGGLED.to_owned(),
            _ => SMUGGLED.replace("x-own: mine\r\nX-Own: mine\r\n", ""),
        };
        let target = if place == "query" { target } else { target.replace("OWN=mine&%6fwn=mine&", "") };
        let answer = bench.raw(HOST, &ask(&target, &smuggled)).await;
        assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
        unseen(&answer, place);
        assert!(answer.contains("[redacted]"), "{answer}");
        let seen = upstream.requests().pop().unwrap();
        assert!(!seen.contains("mine"), "{seen:?}");
        let ours: Vec<_> = seen.headers.iter().filter(|(name, _)| name == header).collect();
        match place {
            "query" => assert_eq!(seen.target, format!("/query/x?x=1&own={SECRET}")),
            _ => {
                assert_eq!(ours.len(), 1, "{seen:?}");
                assert_eq!(ours[0].1, wanted);
                assert_eq!(seen.target, format!("/{place}/x?x=1&own=1"));
            }
        }
    }
    let injected = bench.events().iter().filter(|event| event.action.as_str() == "inject").count();
    assert_eq!(injected, 5);
    assert!(!format!("{:?}", bench.events()).contains(SECRET));
    // The same over HTTP/2.
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    for place in ["bearer", "header", "basic", "query", "cookie"] {
        let mut asked = request(
            &Method::GET,
            &format!("https://{HOST}/{place}/x?access_token=mine"),
            http_body_util::Empty::<bytes::Bytes>::new(),
        );
        for name in ["authorization", "x-own", "cookie"] {
            let smuggled = place == "header" || name != "x-own";
            asked.headers_mut().append(name, if smuggled { "mine" } else { "1" }.parse().unwrap());
        }
        let answer = client.send_request(asked).await.unwrap();
        use http_body_util::BodyExt;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        unseen(&String::from_utf8_lossy(&body), place);
        let seen = upstream.requests().pop().unwrap();
        assert!(
            !seen.contains("mine") && (seen.contains(SECRET) || seen.contains(&self::basic())),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn what_connection_names_does_not_take_ours_away() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, upstream.address());
    let asked = format!(
        "GET /header/x HTTP/1.1\r\nhost: {HOST}\r\nx-own: mine\r\nconnection: close, x-own, authorization\r\n\r\n"
    );
    let answer = bench.raw(HOST, &asked).await;
    assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
    assert_eq!(upstream.requests()[0].header("x-own"), Some(format!("Key {SECRET}").as_str()));
}

#[tokio::test]
async fn trailers_do_not_say_another() {
    use http_body_util::BodyExt;
    let ca = TestCa::new();
    let says = Router::new().any("/", |mut received| async move {
        let mut said = String::new();
        while let Some(Ok(frame)) = received.request.body_mut().frame().await {
            said.extend(frame.trailers_ref().map(|trailers| format!("{trailers:?}")));
        }
        server::answer(200, "text/plain", said)
    });
    let upstream = Upstream::tls(&ca, &[HOST], says);
    let bench = bench(&ca, upstream.address());
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    let mut trailers = http::HeaderMap::new();
    for name in ["x-own", "authorization", "x-fine"] {
        trailers.insert(name, "mine".parse().unwrap());
    }
    let body = http_body_util::Full::<bytes::Bytes>::from("{}").with_trailers(async { Some(Ok(trailers)) });
    let asked = request(&Method::POST, &format!("https://{HOST}/header/x"), Box::pin(body));
    let answer = client.send_request(asked).await.unwrap();
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(said, "{\"x-fine\": \"mine\"}");
}

#[tokio::test]
async fn an_echo_comes_back_without_it_in_every_form() {
    let ca = TestCa::new();
    for coding in
        ["identity", "header", "gzip", "deflate", "br", "zstd", "base64", "base64url", "percent", "base64-1"]
    {
        for (place, header) in [("basic", "authorization"), ("cookie", "cookie"), ("header", "x-own")] {
            for split in ["", "&split=30", "&split=47"] {
                let router = Router::new().any("/", move |mut received| async move {
                    received.seen.target = format!("/?header={header}{split}");
                    routes::encode::answer_request(coding, &received)
                });
                let upstream = Upstream::tls(&ca, &[HOST], router);
                let bench = bench(&ca, upstream.address());
                let answer = bench.raw(HOST, &ask(&format!("/{place}/x"), "accept-encoding: gzip\r\n")).await;
                assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
                // Chunks are joined before anything is looked for.
                let joined: String = answer.split("\r\n").filter(|line| line.len() > 3).collect();
                unseen(&joined, &format!("{coding} {place}"));
            }
        }
    }
}

#[tokio::test]
async fn what_the_host_keeps_is_not_fetched_by_another_rule() {
    let ca = TestCa::new();
    let kept = Router::new().any("/", |_| async {
        let mut reply = server::answer(200, "text/plain", SECRET);
        reply.headers_mut().insert("x-kept", SECRET.parse().unwrap());
        reply
    });
    let upstream = Upstream::tls(&ca, &[HOST, "other.test"], kept);
    let bench = bench(&ca, upstream.address());
    let more = "range: bytes=0-5\r\nif-range: x\r\na-im: vcdiff\r\naccept-encoding: compress, gzip\r\n";
    let answer = bench.raw(HOST, &ask("/without/x", more)).await;
    unseen(&answer, "another rule");
    let seen = &upstream.requests()[0];
    assert!(seen.header("range").is_none() && seen.header("if-range").is_none(), "{seen:?}");
    assert!(seen.header("a-im").is_none(), "{seen:?}");
    assert_eq!(seen.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
    assert!(seen.header("authorization").is_none(), "nothing is added there");
    // A host that no credential may go to is left alone.
    let asked = ask("/x", more).replace(HOST, "other.test");
    let answer = bench.raw("other.test", &asked).await;
    assert!(answer.contains(SECRET), "{answer}");
    assert_eq!(upstream.requests()[1].header("range"), Some("bytes=0-5"));
}

#[tokio::test]
async fn a_secret_of_another_host_goes_nowhere() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let narrow = |hosts| with(&ca, upstream.address(), PLACES, ("local://key", SECRET, Some(hosts)));
    let answer = narrow(vec!["elsewhere.test"]).raw(HOST, &ask("/bearer/x", "")).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    assert_eq!(upstream.requests(), []);
    let answer = narrow(vec!["*.elsewhere.test", HOST]).raw(HOST, &ask("/bearer/x", "")).await;
    assert_eq!(parts(&answer).0, StatusCode::OK);
    // Without a value at all.
    let missing = with(&ca, upstream.address(), PLACES, ("local://another", SECRET, None));
    let answer = missing.raw(HOST, &ask("/bearer/x", "")).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    // Refused by the rules: nothing is said of any credential.
    let refused = bench(&ca, upstream.address()).raw(HOST, &ask("/elsewhere", "")).await;
    assert!(refused.contains("x-chiton-denied: path_not_allowed"), "{refused}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn only_over_verified_tls_or_by_a_rule_that_says_http() {
    let ca = TestCa::new();
    let impostor = Upstream::tls(&TestCa::new(), &[HOST], Router::echo());
    let answer = bench(&ca, impostor.address()).raw(HOST, &ask("/bearer/x", "")).await;
    assert!(answer.contains("x-chiton-denied: upstream_tls"), "{answer}");
    assert_eq!(impostor.requests(), []);
    let plain = Upstream::plain(Router::echo());
    let over_http = async |policy: &str| {
        let bench = with(&ca, plain.address(), policy, ("local://key", SECRET, None));
        let mut stream = bench.connect(HOST, 80).await;
        stream.write_all(ask("/bearer/x", "").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = over_http(PLACES).await;
    assert!(answer.contains("x-chiton-denied: scheme_not_allowed"), "{answer}");
    assert_eq!(plain.requests(), []);
    let named = "dynamic: {network: {http: [{host: api.test, scheme: http, credential: 'local://key'}]}}";
    let answer = over_http(named).await;
    unseen(&answer, "plain");
    assert_eq!(plain.requests()[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
}

#[tokio::test]
async fn a_value_that_cannot_stand_there_is_not_sent() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    for (place, value) in [
        ("bearer", "a-secret\r\nx: y"),
        ("basic", "a-secret\nwith"),
        ("cookie", "a-secret; path=/"),
        ("header", "a-secret\0"),
    ] {
        let bench = with(&ca, upstream.address(), PLACES, ("local://key", value, None));
        let answer = bench.raw(HOST, &ask(&format!("/{place}/x"), "")).await;
        assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{place}: {answer}");
        assert!(!answer.contains("a-secret"), "{answer}");
    }
    assert_eq!(upstream.requests(), []);
    let bench = with(&ca, upstream.address(), PLACES, ("local://key", "a secret&x=y", None));
    assert_eq!(parts(&bench.raw(HOST, &ask("/query/x", "")).await).0, StatusCode::OK);
    assert_eq!(upstream.requests()[0].target, "/query/x?own=a%20secret%26x%3Dy");
}

#[tokio::test]
async fn messages_that_nobody_can_undo_are_refused() {
    let ca = TestCa::new();
    for (name, value, refused) in [
        ("grpc-encoding", "gzip", true),
        ("connect-content-encoding", "br", true),
        ("grpc-encoding", "identity", false),
    ] {
        let coded = Router::new().any("/", move |_| async move {
            let mut reply = server::answer(200, "application/grpc", "ok");
            reply.headers_mut().insert(name, value.parse().unwrap());
            reply
        });
        let upstream = Upstream::tls(&ca, &[HOST], coded);
        let bench = bench(&ca, upstream.address());
        for target in ["/bearer/x", "/without/x"] {
            let answer = bench.raw(HOST, &ask(target, "grpc-accept-encoding: gzip\r\n")).await;
            let wanted = if refused { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            assert_eq!(parts(&answer).0, wanted, "{answer}");
        }
        assert!(upstream.requests().iter().all(|seen| seen.header("grpc-accept-encoding").is_none()));
    }
}

#[tokio::test]
async fn a_websocket_is_opened_with_it_and_says_nothing_of_it() {
    let ca = TestCa::new();
    let router = Router::new().any("/", routes::websocket::answer_request);
    let upstream = Upstream::tls(&ca, &[HOST], router);
    let bench = bench(&ca, upstream.address());
    let deflate = "sec-websocket-extensions: permessage-deflate\r\n";
    // By a rule without a credential too: the host may have kept it.
    for (path, added) in
        [("/header/ws", true), ("/basic/ws", true), ("/query/ws", true), ("/without/ws", false)]
    {
        let more =
            format!("{deflate}{}", if added { "authorization: Bearer mine\r\nx-own: 1\r\n" } else { "" });
        let (mut client, head) = super::websocket::open(&bench, path, &more).await;
        assert!(!head.contains("permessage-deflate"), "{head}");
        let seen = upstream.requests().pop().unwrap();
        assert!(!seen.contains("mine") && !seen.contains("permessage-deflate"), "{seen:?}");
        assert_eq!(seen.contains(SECRET) || seen.contains(&basic()), added, "{seen:?}");
        client.send(false, Opcode::Text, &SECRET.as_bytes()[..9]).await;
        client.send(true, Opcode::Continuation, &SECRET.as_bytes()[9..]).await;
        client.send(true, Opcode::Binary, basic().as_bytes()).await;
        let (mut said, mut ends) = (String::new(), 0);
        while ends < 2 {
            let piece = client.next().await.unwrap();
            said.push_str(std::str::from_utf8(&piece.payload).unwrap());
            ends += usize::from(piece.fin);
        }
        unseen(&said, path);
        assert!(said.contains("[redacted]"), "{said}");
    }
    let mut client = super::websocket::http2_client(&bench).await;
    let (answer, send) = super::websocket::connect(&mut client, "/header/ws", "websocket").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(upstream.requests().pop().unwrap().header("x-own"), Some(format!("Key {SECRET}").as_str()));
    drop((answer, send));
}

#[tokio::test]
async fn a_new_revision_ends_what_goes_on_as_somebody_else() {
    let ca = TestCa::new();
    let router = Router::new().any("/", routes::websocket::answer_request);
    let upstream = Upstream::tls(&ca, &[HOST], router);
    let credential = || ("local://key", SECRET, None);
    let apply = async |bench: &Bench, revision, policy: &str| {
        let revision = Revision::build(revised(revision, policy, &[credential()])).unwrap();
        bench.proxy.apply(revision).await
    };
    let bench = bench(&ca, upstream.address());
    let (mut with, _) = super::websocket::open(&bench, "/bearer/ws", "").await;
    let (mut without, _) = super::websocket::open(&bench, "/without/ws", "").await;
    // The same again: nothing is cut.
    assert_eq!(apply(&bench, 2, PLACES).await, 0);
    // Another place: what was opened as before is not as the rule says.
    let moved = PLACES.replace(
        "[/bearer/**], websocket: true, credential: 'local://key'",
        "[/bearer/**], websocket: true, credential: {secret: 'local://key', header: x-new}",
    );
    let (cut, code) = tokio::join!(apply(&bench, 3, &moved), async {
        let code = with.closed().await;
        with.send(true, Opcode::Close, &code.to_be_bytes()).await;
        code
    });
    assert_eq!((cut, code), (1, 1008));
    without.send(true, Opcode::Text, b"still here").await;
    assert_eq!(without.message().await.1, b"still here");
    // A host that gets a credential only now: what is open to it is not cleaned, and ends.
    let open = "dynamic: {network: {http: [{host: api.test, websocket: true, paths: [/without/**]}]}}";
    let bench = Bench::new(Setup {
        policy: open,
        resolve: vec![("api.test:443", upstream.address())],
        roots: vec![ca.pem().to_owned()],
        ..Setup::default()
    });
    let (mut client, _) = super::websocket::open(&bench, "/without/ws", "").await;
    let (cut, code) = tokio::join!(apply(&bench, 2, PLACES), async {
        let code = client.closed().await;
        client.send(true, Opcode::Close, &code.to_be_bytes()).await;
        code
    });
    assert_eq!((cut, code), (1, 1008));
}
