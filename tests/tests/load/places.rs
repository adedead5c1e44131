//! Requests of HTTP/2 for which there is no place.

use chiton_testkit::{RawUpstream, TestCa, raw::Script};
use chiton_tests::{As, Chiton, http_policy};

use super::{HOST, Held, OPEN};

/// A server that answers nobody; `refused` of the requests are more than there are places for.
fn more_than_there_are_places(connections: usize, count: usize, head: usize, refused: usize) {
    let ca = TestCa::new();
    let server = RawUpstream::tls(&ca, &[HOST], Script::Stall);
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", server.address());
    chiton.bring_probe();
    let probe = format!("sleep 1; ./chiton-probe places {HOST} {connections} {count} {head} {refused}");
    let held = Held::run(&chiton, "places", &http_policy(OPEN), &["sh", "-c", &probe]);
    let outcome = held.ended();
    assert!(outcome.stdout.contains(&format!("{refused} of {refused} REFUSED_STREAM")), "{outcome:?}");
    // Each is written before the agent is told.
    let events = chiton.audit(&["--sandbox", "places"]);
    let written =
        events.iter().filter(|event| event["action"] == "connect" && event["reason"] == "limit_exceeded");
    assert_eq!(written.count(), refused);
}

/// 128 heads of over 8 KiB.
#[test]
fn large_heads() {
    more_than_there_are_places(1, 200, 9000, 200 - 128);
}

/// 2,048 requests: 1,100 wait for their server, the others to be told that these are too many.
#[test]
fn requests() {
    more_than_there_are_places(3, 1000, 1, 3000 - 2048);
}
