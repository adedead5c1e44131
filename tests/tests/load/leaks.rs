//! Memory after many requests is what it was after few.

use chiton_testkit::{TestCa, Upstream, routes::Router};
use chiton_tests::{As, Chiton, http_policy};

use super::{HOST, Held, OPEN};

/// What may be more afterwards, in KiB: pieces that the allocator could not give back.
const SLACK: u64 = 4 << 10;
/// Connections to servers that wait for the next request (`POOL_TOTAL`), and a few others.
const DESCRIPTORS: usize = 256 + 32;

fn nothing_grows(count: usize) {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &[HOST], Router::echo());
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", upstream.address());
    chiton.bring_probe();
    let script = format!(
        "sleep 1; ask() {{ ./chiton-probe requests {HOST} $1 16 /status/200; ./chiton-probe streams {HOST} 200 /status/200; }}
         ask 2000; ask 2000; touch warm; until [ -e go ]; do sleep 0.05; done
         ask {count}; touch done; sleep 600"
    );
    let held = Held::run(&chiton, "leaks", &http_policy(OPEN), &["sh", "-c", &script]);
    let descriptors = held.descriptors();
    held.wait_for("warm");
    let before = held.memory();
    chiton.write_workspace("go", "");
    if count > 100_000 {
        while !chiton.workspace().join("done").exists() {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }
    held.wait_for("done");
    let after = held.memory();
    println!("{before} KiB before, {after} KiB after {count} requests");
    let outcome = chiton.run(&["logs", "leaks"]);
    assert!(outcome.stdout.contains(&format!("{count} answered")), "{outcome:?}");
    assert!(after < before + SLACK, "{before} KiB before, {after} KiB after {count} requests");
    let after = held.descriptors();
    assert!(after < descriptors + DESCRIPTORS, "{descriptors} before, {after} after");
}

#[test]
fn twenty_thousand_requests_leave_nothing_behind() {
    nothing_grows(20_000);
}

/// Minutes, of a release build: its figures are in docs/limits.md.
#[test]
#[ignore = "minutes: `cargo test --test load -- --ignored` with a release build in CHITON_BIN"]
fn a_million_requests_leave_nothing_behind() {
    nothing_grows(1_000_000);
}
