//! `chiton demo`: every attempt ends as it should, each has its event, and nothing is left.

use chiton_testkit::{As, Chiton};

fn tour(user: As) {
    let chiton = Chiton::new(user);
    let outcome = chiton.run(&["demo", "--json"]).expect_status(0);
    let rows = outcome.json();
    let rows = rows.as_array().expect("rows");
    assert!(rows.len() >= 12, "{rows:#?}");
    for row in rows {
        assert_eq!(row["as_expected"], true, "{row:#}");
    }
    for layer in ["filesystem", "process", "network", "llm"] {
        assert!(rows.iter().any(|row| row["layer"] == layer && row["event"].is_string()), "{layer}");
    }
    assert_eq!(chiton.processes(), Vec::<u32>::new());
    assert_eq!(
        std::fs::read_dir(chiton.path("state")).expect("it").count(),
        0,
        "the user's own is untouched"
    );
}

#[test]
fn as_an_ordinary_user() {
    tour(As::User);
}

#[test]
fn as_root() {
    tour(As::Root);
}
