//! What a host keeps of a credential and says later, and what flows meanwhile: never held for what a value may be.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chiton_testkit::{Router, routes, server};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{sync::mpsc, time::timeout};

use super::*;

const HOST: &str = "api.test";
const GIVEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*'], credential: 'local://key'},
    {host: other.test, methods: ['*']}]}}";
const NOT_GIVEN: &str =
    "dynamic: {network: {http: [{host: api.test, methods: ['*']}, {host: other.test, methods: ['*']}]}}";

type Given<'a> = (&'a str, &'a str, Option<Vec<&'a str>>);

fn bench(ca: &TestCa, upstream: &Upstream, credential: Given<'_>) -> Bench {
    Bench::new(Setup {
        policy: GIVEN,
        resolve: vec![("api.test:443", upstream.address()), ("other.test:443", upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![credential],
        ..Setup::default()
    })
}

async fn apply(bench: &Bench, revision: u64, policy: &str, credentials: &[Given<'_>]) -> u64 {
    bench.proxy.apply(Revision::build(revised(revision, policy, credentials)).unwrap()).await
}

#[tokio::test]
async fn the_value_of_a_revision_that_is_gone_does_not_come_back() {
    let ca = TestCa::new();
    let said = "sk-first-0123456789 sk-second-0123456789 sk-third-0123456789";
    let kept = Router::new().any("/", move |_| async move { server::answer(200, "text/plain", said) });
    let upstream = Upstream::tls(&ca, &[HOST, "other.test"], kept);
    let given = |value| ("local://key", value, None);
    let bench = bench(&ca, &upstream, given("sk-first-0123456789"));
    apply(&bench, 2, GIVEN, &[given("sk-second-0123456789")]).await;
    let answer = bench.get(HOST, "/").await;
    assert_eq!(parts(&answer).2.matches("[redacted]").count(), 2, "{answer}");
    assert!(answer.contains("sk-third"), "{answer}");
    // Nor where nothing is given any more.
    apply(&bench, 3, NOT_GIVEN, &[]).await;
    apply(&bench, 4, NOT_GIVEN, &[]).await;
    let answer = bench.get(HOST, "/").await;
    assert!(!answer.contains("sk-first") && !answer.contains("sk-second"), "{answer}");
    assert_eq!(upstream.requests()[1].header("authorization"), None);
    // Another host never had it.
    assert!(bench.get("other.test", "/").await.contains("sk-first"));
    // As it was written in its place, too.
    let basic = GIVEN.replace("'local://key'", "{secret: 'local://key', basic: {user: me}}");
    apply(&bench, 5, &basic, &[given("sk-third-0123456789")]).await;
    apply(&bench, 6, NOT_GIVEN, &[]).await;
    assert!(
        bench.proxy.running.revision().redactors.values.scrub(b"bWU6c2stdGhpcmQtMDEyMzQ1Njc4OQ").is_some()
    );
}

#[tokio::test]
async fn so_many_values_are_kept_and_no_more() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let value = |number: usize| format!("sk-value-of-revision-{number:04}");
    let bench = bench(&ca, &upstream, ("local://key", &value(1), None));
    let last = crate::given::MOST_VALUES + 10;
    for number in 2..=last {
        // The same again takes no place.
        for revision in [2 * number, 2 * number + 1] {
            apply(&bench, revision as u64, GIVEN, &[("local://key", &value(number), None)]).await;
        }
    }
    let revision = bench.proxy.running.revision();
    let known = |number| revision.redactors.values.scrub(value(number).as_bytes()).is_some();
    assert!((10..=last).all(known) && !(1..10).any(known));
}

#[tokio::test]
async fn a_charset_that_cannot_be_searched_is_refused_by_name() {
    let ca = TestCa::new();
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(SECRET.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let kinds = Router::new().any("/", move |received| {
        let (kind, body) = match &*received.path {
            "/declared" => ("text/html; charset=utf-16", utf16.clone()),
            "/marked" => ("text/html", utf16.clone()),
            _ => ("text/html; charset=windows-1252", b"fine".to_vec()),
        };
        async move { server::answer(200, kind, body) }
    });
    let upstream = Upstream::tls(&ca, &[HOST, "other.test"], kinds);
    let bench = bench(&ca, &upstream, ("local://key", SECRET, None));
    let ask = |host: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept-charset: utf-16\r\nconnection: close\r\n\r\n")
    };
    let answer = bench.raw(HOST, &ask(HOST, "/declared")).await;
    assert_eq!(parts(&answer).0, StatusCode::BAD_GATEWAY, "{answer}");
    assert!(answer.contains("charset `utf-16`"), "{answer}");
    let answer = bench.raw(HOST, &ask(HOST, "/marked")).await;
    assert!(!answer.contains('\0') && !answer.ends_with("0\r\n\r\n"), "{answer}");
    assert!(bench.raw(HOST, &ask(HOST, "/fine")).await.contains("fine"));
    assert!(upstream.requests().iter().all(|seen| seen.header("accept-charset").is_none()));
    // A host without a credential may speak as it likes.
    let answer = bench.raw("other.test", &ask("other.test", "/declared")).await;
    assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
    assert_eq!(upstream.requests()[3].header("accept-charset"), Some("utf-16"));
}

/// A body that is sent as it comes.
struct Said(mpsc::Receiver<Bytes>);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|said| said.map(|said| Ok(Frame::data(said))))
    }
}

fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat().into()
}

#[tokio::test]
async fn a_call_both_ways_never_waits_for_the_end_of_a_message() {
    let ca = TestCa::new();
    // Says every message back, and nothing before one has come.
    let talks = Router::new().any("/", |received| async {
        let body = received.request.into_body().map_err(std::io::Error::other);
        let answer = http::Response::builder().header("content-type", "application/grpc");
        answer.body(BodyExt::boxed_unsync(body)).unwrap()
    });
    let upstream = Upstream::tls(&ca, &[HOST], talks);
    let bench = bench(&ca, &upstream, ("local://key", SECRET, None));
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    let (say, said) = mpsc::channel(1);
    let mut asked = request(&Method::POST, &format!("https://{HOST}/test.Test/Talks"), Said(said));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let (answer, _) = tokio::join!(client.send_request(asked), say.send(message("hello")));
    let mut body = answer.unwrap().into_body();
    let mut got = Vec::new();
    for (told, next) in
        [("hello", "sk-backend-01"), ("sk-backend-01", SECRET), ("[redacted]*****************", "s")]
    {
        let wanted = message(told);
        while got.len() < wanted.len() {
            let frame = timeout(Duration::from_secs(5), body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("`{told}` is held: {got:?}")).unwrap().unwrap();
            got.extend_from_slice(frame.data_ref().unwrap());
        }
        assert_eq!(got, wanted, "{told}");
        got.clear();
        say.send(message(next)).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_that_might_go_on_comes_all_the_same_when_nothing_follows() {
    let ca = TestCa::new();
    let event = "data: {\"text\": \"sk-backend-0123\"}\n\n";
    let tells = Router::new().any("/", move |_| async move {
        let pieces = vec![Bytes::from(event), Bytes::from(": the end\n\n")];
        routes::echo::streamed("text/event-stream", pieces, Duration::from_secs(2))
    });
    let upstream = Upstream::tls(&ca, &[HOST], tells);
    let bench = bench(&ca, &upstream, ("local://key", SECRET, None));
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    let asked = request(&Method::GET, &format!("https://{HOST}/"), http_body_util::Empty::<Bytes>::new());
    let mut body = client.send_request(asked).await.unwrap().into_body();
    let first = timeout(Duration::from_secs(3), body.frame()).await.expect("in time").unwrap().unwrap();
    assert_eq!(first.data_ref().unwrap(), event);
}
