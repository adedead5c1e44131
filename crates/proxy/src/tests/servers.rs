//! Connections to servers: found dead in time, shared by no more exchanges than they hold, and left for another one.

use std::time::Duration;

use bytes::Bytes;
use chiton_policy::{Decision as Judged, Intent};
use chiton_testkit::{Router, routes::echo::stalling};
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use rustix::net::sockopt;

use super::*;
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
