//! A thousand requests at once on one HTTP/2 connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chiton_testkit::{TestCa, Upstream, routes::Router, server::answer};
use chiton_tests::{As, Chiton, http_policy};
use tokio::sync::Notify;

use super::{HOST, Held, OPEN};

const COUNT: usize = 1000;

/// Answers nobody until all are there.
fn gathering() -> Router {
    let (come, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    Router::new().any("/gather", move |_| {
        let (come, all) = (come.clone(), all.clone());
        async move {
            let there = all.notified();
            tokio::pin!(there);
            there.as_mut().enable();
            if come.fetch_add(1, Ordering::SeqCst) + 1 == COUNT {
                all.notify_waiters();
            } else {
                there.await;
            }
            answer(200, "text/plain", "all are here\n")
        }
    })
}

fn a_thousand_streams(serve: fn(&TestCa, &[&str], Router) -> Upstream, connections: std::ops::Range<usize>) {
    let ca = TestCa::new();
    let upstream = serve(&ca, &[HOST], gathering());
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", upstream.address());
    chiton.bring_probe();
    let probe = [
        "sh",
        "-c",
        &format!("sleep 1; ./chiton-probe streams {HOST} {COUNT} /gather; touch done; sleep 600"),
    ];
    let held = Held::run(&chiton, "streams", &http_policy(OPEN), &probe);
    let before = held.memory();
    held.wait_for("done");
    let outcome = chiton.run(&["logs", "streams"]);
    assert!(outcome.stdout.contains("1000 answered"), "{outcome:?}");
    let grown = held.memory().saturating_sub(before);
    println!("{grown} KiB for {COUNT} streams");
    assert!(grown < 128 << 10, "{grown} KiB for {COUNT} streams");
    assert!(connections.contains(&upstream.log().connections()), "{}", upstream.log().connections());
}

/// Sixteen share a connection, but for those that were dialled with a wide window when there was no second place for one.
#[test]
fn a_thousand_streams_to_a_server_of_http_2() {
    a_thousand_streams(Upstream::tls, 63..96);
}

/// As many connections as requests.
#[test]
fn a_thousand_streams_to_a_server_of_http_1() {
    a_thousand_streams(Upstream::tls_http1, COUNT..COUNT + 1);
}
