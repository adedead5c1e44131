//! Waiting for what another process does.

use std::{
    fmt::Display,
    fs::read_to_string,
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

/// Whether a process is gone, or only a name until it is reaped.
#[must_use]
pub fn is_dead(process: impl Display) -> bool {
    let stat = read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}
