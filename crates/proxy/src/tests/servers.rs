//! Connections to servers: found dead in time, shared by no more exchanges than they hold, and left for another one.

use chiton_policy::{Decision as Judged, Intent};
use chiton_testkit::Router;
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
