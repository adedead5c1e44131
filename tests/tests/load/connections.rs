//! Ten thousand connections that are kept alive.

use chiton_testkit::routes::Router;
use chiton_tests::{As, World, http_policy};

use super::{HOST, Held, OPEN, another_is_served};

/// What one idle connection may cost, in KiB: docs/limits.md.
const IDLE: u64 = 16;
const COUNT: u64 = 10_000;

#[test]
fn ten_thousand_kept_alive_connections() {
    let world = World::new(As::User, &[HOST], Router::echo());
    world.chiton.bring_probe();
    let count = COUNT.to_string();
    let probe = ["sh", "-c", &format!("sleep 1; exec ./chiton-probe hold-connections {HOST} {count} 100")];
    let held = Held::run(&world.chiton, "many", &http_policy(OPEN), &probe);
    let before = held.memory();
    held.wait_for("held");
    let each = held.memory().saturating_sub(before) / COUNT;
    println!("{before} KiB before, {} KiB held, {each} KiB each", held.memory());
    assert!(each <= IDLE, "{each} KiB for each idle connection");
    // One descriptor for each, and few for the rest.
    let descriptors = held.descriptors();
    assert!((10_000..10_300).contains(&descriptors), "{descriptors}");
    another_is_served(&world);
    world.chiton.write_workspace("go", "");
    let outcome = held.ended();
    assert!(outcome.stdout.contains("10000 open, 100 asked again"), "{outcome:?}");
}
