//! What an upstream server saw: every connection, every request.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The server name of the handshake.
    pub sni: Option<String>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// What a route read of the body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether a text occurs anywhere in the request.
    #[must_use]
    pub fn contains(&self, needle: &str) -> bool {
        let in_headers = self.headers.iter().any(|(n, v)| n.contains(needle) || v.contains(needle));
        in_headers || self.target.contains(needle) || String::from_utf8_lossy(&self.body).contains(needle)
    }
}

/// Requests that are recorded; further ones are served only.
const MOST: usize = 50_000;

/// The shared log of one server.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    requests: Vec<Seen>,
    aborted: usize,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self) {
        self.state().connections += 1;
        self.0.changed.notify_all();
    }

    pub(crate) fn record(&self, seen: Seen) -> usize {
        let mut state = self.state();
        if state.requests.len() >= MOST {
            return MOST;
        }
        state.requests.push(seen);
        self.0.changed.notify_all();
        state.requests.len() - 1
    }

    pub(crate) fn record_body(&self, index: usize, body: &[u8]) {
        if let Some(seen) = self.state().requests.get_mut(index) {
            seen.body.extend_from_slice(body);
        }
        self.0.changed.notify_all();
    }

    pub(crate) fn record_abort(&self) {
        self.state().aborted += 1;
        self.0.changed.notify_all();
    }

    /// Connections that were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Request bodies that ended before their end.
    #[must_use]
    pub fn aborted(&self) -> usize {
        self.state().aborted
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// Waits until a request matches, at most 30 seconds.
    ///
    /// # Panics
    /// When none came.
    #[must_use]
    pub fn await_request(&self, matches: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut state = self.state();
        loop {
            if let Some(found) = state.requests.iter().find(|seen| matches(seen)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such request came; seen: {:#?}", state.requests);
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
