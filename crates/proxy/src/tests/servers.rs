//! Connections to servers: found dead in time, shared by no more exchanges than they hold, and left for another one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use chiton_policy::{Decision as Judged, Intent};
use chiton_testkit::{
    RawUpstream, Router,
    raw::Script,
    routes::{echo::stalling, openai},
};
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use rustix::net::sockopt;

use super::{load::frame, *};
use crate::{
    judge::{Route, SentTarget},
    upstream::wire::socket,
};

fn route(bench: &Bench, asked: &str) -> Route {
    let intent = Intent::from_request_line(asked).unwrap();
    match chiton_policy::decide(&bench.proxy.running.revision().compiled, &intent) {
        Judged::Allow(permit) => {
            let target = SentTarget::of(&permit);
            Route::new(permit, target)
        }
        Judged::Deny(denial) => panic!("{denial:?}"),
    }
}

#[tokio::test]
async fn a_server_that_acknowledges_nothing_is_dead_in_a_minute() {
    let upstream = Upstream::plain(Router::echo());
    let policy = "dynamic: {network: {http: [{host: plain.test, scheme: http}]}}";
    let resolve = vec![("plain.test:80", upstream.address())];
    let bench = Bench::new(Setup { policy, resolve, ..Setup::default() });
    let route = route(&bench, "GET http://plain.test/");
    let dialled = bench.proxy.upstream.dialler.dial(&route).await.unwrap();
    let tokio_util::either::Either::Left(wire) = &dialled.connection else { panic!("it is in the clear") };
    let socket = socket(wire);
    let most = limits::UNANSWERED;
    assert_eq!(u128::from(sockopt::tcp_user_timeout(socket).unwrap()), most.as_millis());
    // By this time the kernel decides how many questions are left unanswered: at least three.
    let (after, again) = (sockopt::tcp_keepidle(socket).unwrap(), sockopt::tcp_keepintvl(socket).unwrap());
    assert!(sockopt::socket_keepalive(socket).unwrap() && after + 3 * again <= most);
}

const OPEN: &str = "dynamic: {network: {http: [{host: api.test, methods: ['*']}]}}";

/// Answers that begin at once and never end.
fn endless() -> Router {
    Router::new().any("/", |_| async { stalling("text/plain", "begun") })
}

/// Asks for so many answers at once on one connection of the agent, and waits until each has begun.
async fn begin(bench: &Bench, count: usize) -> Vec<Incoming> {
    let client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
    let answers = (0..count).map(|_| {
        let (mut client, asked) =
            (client.clone(), request(&Method::GET, "https://api.test/", Empty::<Bytes>::new()));
        async move {
            let answer = client.send_request(asked).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let mut body = answer.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
            body
        }
    });
    tokio::time::timeout(Duration::from_secs(20), join_all(answers)).await.expect("all begin")
}

#[tokio::test]
async fn so_many_exchanges_share_a_connection_as_its_server_takes() {
    let ca = TestCa::new();
    // How many streams the server takes, how many are wanted at first and then, and how many connections that takes: more
    // where the server has not yet said how many it takes.
    for (most, first, then, connections) in [(4, 1, 11, 3..=3), (4, 12, 0, 3..=6), (2000, 1, 30, 2..=2)] {
        let upstream = Upstream::tls_of_streams(&ca, &["api.test"], most, endless());
        let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
        let held = [begin(&bench, first).await, begin(&bench, then).await];
        let opened = upstream.log().connections();
        assert!(connections.contains(&opened), "{opened} connections for {held:?}");
        drop(held);
        // What they leave is used again.
        while bench.proxy.running.is_busy() {
            tokio::task::yield_now().await;
        }
        drop(begin(&bench, 3).await);
        assert_eq!(upstream.log().connections(), opened);
    }
}

/// By an agent that takes 64 KiB of each answer.
#[tokio::test]
async fn downloads_that_nobody_reads_stop_no_other() {
    let ca = TestCa::new();
    for wide in [true, false] {
        let upstream = Upstream::tls(&ca, &["api.test"], Router::echo());
        let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
        if !wide {
            bench.proxy.upstream.wide.0.close();
        }
        let get = |size: usize| {
            request(&Method::GET, &format!("https://api.test/bytes?n={size}"), Empty::<Bytes>::new())
        };
        let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
        let mut unread = Vec::new();
        for _ in 0..4 {
            unread.push(client.send_request(get(1 << 40)).await.unwrap());
        }
        let mut other = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
        let answer = other.send_request(get(32 << 20)).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(30), answer.into_body().collect()).await;
        assert_eq!(read.expect("the fifth completes").unwrap().to_bytes().len(), 32 << 20);
        assert_eq!(upstream.log().connections(), 1);
        drop(unread);
    }
}

/// How a server says that it did nothing with a stream.
type Says = fn(u32) -> Vec<u8>;
const NOT_PROCESSED: [Says; 2] = [
    // GOAWAY, NO_ERROR, after none.
    |_| frame(7, 0, 0, &[0; 8]),
    // RST_STREAM, REFUSED_STREAM.
    |stream| frame(3, 0, stream, &[0, 0, 0, 7]),
];

/// Stands before a server: so many connections process nothing, and further ones are the server's.
async fn in_front(ca: &TestCa, host: &str, says: Says, connections: usize, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(ca.server_config(&[host], &["h2"]));
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if number < connections {
                tokio::spawn(process_nothing(tls.accept(stream).await.unwrap(), says));
            } else {
                let mut to = TcpStream::connect(server).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut to).await });
            }
        }
    });
    at
}

/// A proxy whose first connections to `api.test` process nothing.
async fn behind(ca: &TestCa, says: Says, connections: usize, server: &Upstream) -> Bench {
    let at = in_front(ca, "api.test", says, connections, server.address()).await;
    let (resolve, roots) = (vec![("api.test:443", at)], vec![ca.pem().to_owned()]);
    Bench::new(Setup { policy: OPEN, resolve, roots, ..Setup::default() })
}

async fn process_nothing(mut stream: impl AsyncRead + tokio::io::AsyncWrite + Unpin, says: Says) {
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, _, id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if kind == HEADERS {
            stream.write_all(&says(u32::from_be_bytes(id))).await.unwrap();
        }
    }
}

/// What happened, by its actions and the statuses of responses, once so much has.
async fn happened(bench: &Bench, count: usize) -> Vec<(String, Option<u16>)> {
    loop {
        let told = bench.events().into_iter().filter(|event| event.action.as_str() != "stand_in");
        let told = told.map(|event| (event.action.to_string(), event.response.and_then(|told| told.status)));
        let told: Vec<_> = told.collect();
        if told.len() >= count && !bench.proxy.running.is_busy() {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_server_did_not_process_is_asked_once_more_and_counted_once() {
    let ca = TestCa::new();
    for says in NOT_PROCESSED {
        let server = Upstream::tls(&ca, &["api.test"], Router::echo());
        let bench = behind(&ca, says, 1, &server).await;
        let asked = "POST / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = bench.raw("api.test", asked).await;
        assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
        assert_eq!(server.requests().len(), 1);
        let once = [("request".to_owned(), None), ("response".to_owned(), Some(200))];
        assert_eq!(happened(&bench, 2).await, once);
    }
}

#[tokio::test]
async fn a_model_call_too() {
    let ca = TestCa::new();
    let host = "api.openai.com";
    for says in NOT_PROCESSED {
        let server = Upstream::tls(&ca, &[host], Router::new().any("/", openai::answer_request));
        let at = in_front(&ca, host, says, 1, server.address()).await;
        let bench = Bench::new(Setup {
            policy: "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://key'}}",
            resolve: vec![("api.openai.com:443", at)],
            roots: vec![ca.pem().to_owned()],
            credentials: vec![("local://key", SECRET, None)],
            ..Setup::default()
        });
        let body = r#"{"model":"gpt-5","messages":[]}"#;
        let asked = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = bench.raw(host, &asked).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(openai::GREETING), "{answer}");
        assert_eq!(server.requests().iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [body.len()]);
        let happened = happened(&bench, 3).await;
        let actions: Vec<_> = happened.iter().map(|(action, _)| action.as_str()).collect();
        assert_eq!(actions, ["request", "inject", "response"]);
    }
}

#[tokio::test]
async fn a_body_of_which_nothing_was_read_goes_along() {
    let ca = TestCa::new();
    for says in NOT_PROCESSED {
        let server = Upstream::tls(&ca, &["api.test"], Router::echo());
        let bench = behind(&ca, says, 1, &server).await;
        let mut agent = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
        let head = "POST / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
        agent.write_all(head.as_bytes()).await.unwrap();
        let log = server.log().clone();
        tokio::task::spawn_blocking(move || log.await_request(|seen| seen.method == "POST")).await.unwrap();
        agent.write_all(b"hi").await.unwrap();
        let mut answer = String::new();
        agent.read_to_string(&mut answer).await.unwrap();
        assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
        assert_eq!(server.requests()[0].body, b"hi");
    }
}

/// A body that is on its way is the agent's to send again: where it can be told so, it is.
#[tokio::test]
async fn what_cannot_be_asked_again_from_here_is_the_agents_to_ask() {
    let ca = TestCa::new();
    for says in NOT_PROCESSED {
        let server = Upstream::tls(&ca, &["api.test"], Router::echo());
        let bench = behind(&ca, says, 2, &server).await;
        let asked = "POST / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let answer = bench.raw("api.test", asked).await;
        assert_eq!(parts(&answer).0, StatusCode::BAD_GATEWAY, "{answer}");
        assert!(answer.contains("`api.test` did not process the request"), "{answer}");
        let mut client = http2(bench.connect_tls("api.test", "api.test", &["h2"]).await).await;
        let mut ask =
            || client.send_request(request(&Method::POST, "https://api.test/", Full::new(Bytes::from("hi"))));
        let refused = ask().await.unwrap_err();
        let reason = std::error::Error::source(&refused).and_then(|error| error.downcast_ref::<h2::Error>());
        assert_eq!(reason.and_then(h2::Error::reason), Some(h2::Reason::REFUSED_STREAM), "{refused:?}");
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
        // It was no limit of ours that refused it.
        let happened = happened(&bench, 6).await;
        let responses = happened.iter().filter_map(|(_, status)| *status);
        assert_eq!((happened.len(), responses.collect::<Vec<_>>()), (6, vec![502, 502, 200]), "{happened:?}");
    }
}

const CLEAR: &str = "dynamic: {network: {http: [{host: plain.test, scheme: http, methods: ['*']}]}}";

#[tokio::test]
async fn a_connection_that_ended_says_nothing_of_how_many_share_the_next() {
    let ca = TestCa::new();
    for says in NOT_PROCESSED {
        let server = Upstream::tls(&ca, &["api.test"], endless());
        let bench = behind(&ca, says, 1, &server).await;
        let held = [begin(&bench, 1).await, begin(&bench, 11).await];
        assert_eq!(server.log().connections(), 1, "{held:?}");
    }
}

/// A server whose connections each answer one request, the first of them together, and end with the second.
async fn once_each(together: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, all) = (seen.clone(), Arc::new(tokio::sync::Barrier::new(together)));
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (seen, all) = (counted.clone(), all.clone());
            tokio::spawn(async move {
                for request in 0..2 {
                    read_until(&mut stream, b"\r\n\r\n").await;
                    seen.fetch_add(1, Ordering::Relaxed);
                    if request == 0 {
                        if number < together {
                            all.wait().await;
                        }
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    (at, seen)
}

#[tokio::test]
async fn a_request_is_repeated_once_however_many_connections_are_kept() {
    let (at, seen) = once_each(3).await;
    let policy = "dynamic: {network: {http: [{host: plain.test, scheme: http}]}}";
    let bench = Bench::new(Setup { policy, resolve: vec![("plain.test:80", at)], ..Setup::default() });
    let ask = || async {
        let mut agent = bench.connect("plain.test", 80).await;
        agent.write_all(b"GET / HTTP/1.1\r\nhost: plain.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        agent.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    join_all([ask(), ask(), ask()]).await;
    ask().await;
    // On one that was kept, and on a new one.
    assert_eq!(seen.load(Ordering::Relaxed), 3 + 2);
}

/// Asks by HTTP/2 in the clear; with a type, as gRPC does.
async fn ask_in_the_clear(bench: &Bench, kinds: &[Option<&str>]) -> Vec<StatusCode> {
    let io = hyper_util::rt::TokioIo::new(bench.connect("plain.test", 80).await);
    let builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (mut client, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for kind in kinds {
        let mut asked =
            request(&Method::POST, "http://plain.test/test.Test/Unary", Full::new(Bytes::from("hi")));
        if let Some(kind) = kind {
            asked.headers_mut().insert("content-type", kind.parse().unwrap());
            asked.headers_mut().insert("te", "trailers".parse().unwrap());
        }
        statuses.push(client.send_request(asked).await.unwrap().status());
    }
    statuses
}

#[tokio::test]
async fn grpc_in_the_clear_is_http_2_to_its_server_and_nothing_else_is() {
    let upstream = Upstream::plain(Router::echo());
    let resolve = vec![("plain.test:80", upstream.address())];
    let bench = Bench::new(Setup { policy: CLEAR, resolve, ..Setup::default() });
    let kinds =
        [Some("application/grpc"), None, Some("application/grpc+proto"), Some("application/grpc-web")];
    assert_eq!(ask_in_the_clear(&bench, &kinds).await, [StatusCode::OK; 4]);
    let seen = upstream.requests();
    let protocols: Vec<_> = seen.iter().map(|seen| seen.protocol.as_str()).collect();
    assert_eq!(protocols, ["HTTP/2.0", "HTTP/1.1", "HTTP/2.0", "HTTP/1.1"]);
    assert_eq!((seen[0].header("te"), seen[0].body.as_slice()), (Some("trailers"), &b"hi"[..]));
    // Each kind keeps its own.
    assert_eq!(upstream.log().connections(), 2);
    // A server of HTTP/1 has no gRPC.
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let upstream = RawUpstream::plain(Script::Send(answer.into()));
    let resolve = vec![("plain.test:80", upstream.address())];
    let bench = Bench::new(Setup { policy: CLEAR, resolve, ..Setup::default() });
    assert_eq!(
        ask_in_the_clear(&bench, &[Some("application/grpc"), None]).await,
        [StatusCode::BAD_GATEWAY, StatusCode::OK]
    );
}
