//! Any text is an event or none; one that is taken over as it stands is what would be written of it.
#![no_main]

use chiton_audit::{Chain, Decision, Entry, Event};
use libfuzzer_sys::fuzz_target;

const SANDBOX: &str = "demo";

fuzz_target!(|line: &str| {
    let taken = Entry::read(line, SANDBOX);
    let Ok(linked) = Event::parse(line) else {
        assert!(taken.is_err());
        return;
    };
    let mut event = linked.event;
    event.sandbox = Some(SANDBOX.to_owned());
    let taken = taken.expect("an event");
    assert_eq!((taken.time, taken.id), (event.time, event.id));
    assert_eq!(taken.denied, (event.decision == Some(Decision::Deny)).then_some(event.layer));
    let mut over = String::new();
    let _ = Chain::NEW.take_over(&taken, &mut over);
    assert_eq!(over, Chain::NEW.linked(&event).0);
});
