//! Waiting for what another process does.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Whether something comes to be within so long. It is looked at again and again.
#[must_use]
pub fn soon(within: Duration, mut is: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if is() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
}
