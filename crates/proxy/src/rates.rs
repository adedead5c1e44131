//! `limits.requests_per_minute`: no minute holds more requests of a rule or a route than it says.
//!
//! Counted by the rule's name over the life of the proxy, so that a new revision does not begin anew; of routes by
//! their backend, over the life of the sandbox.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How long a request counts.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The requests of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Rates(HashMap<Counted, VecDeque<Instant>>);

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// Those of a rule, by its name.
    Rule(String),
    /// Those to the backend of model routes.
    Backend(String),
}

impl Rates {
    /// Goes on with the requests that earlier proxies let through to these backends.
    pub(crate) fn restored(backends: HashMap<String, VecDeque<Instant>>) -> Self {
        Self(backends.into_iter().map(|(backend, times)| (Counted::Backend(backend), times)).collect())
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long until there is room for one, where the minute is full. It is not counted then.
    pub(crate) fn count(&mut self, of: Counted, most: u32, now: Instant) -> Result<(), Duration> {
        let times = self.0.entry(of).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            times.pop_front();
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // A revision may have lowered it: room comes when enough of them are a minute old.
        let freeing = times.len().checked_sub(most).and_then(|over| times.get(over));
        if let Some(freeing) = freeing {
            return Err(MINUTE.saturating_sub(now.duration_since(*freeing)));
        }
        if most == 0 {
            return Err(MINUTE);
        }
        times.push_back(now);
        Ok(())
    }

    /// Forgets rules that nobody has used for a minute.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) < MINUTE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more() {
        let a = || Counted::Rule("a".to_owned());
        let b = || Counted::Backend("a".to_owned());
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.count(a(), 2, at(0)), Ok(()));
        assert_eq!(rates.count(a(), 2, at(50)), Ok(()));
        assert_eq!(rates.count(a(), 2, at(55)), Err(Duration::from_secs(5)));
        assert_eq!(rates.count(a(), 2, at(60)), Ok(()));
        assert_eq!(rates.count(a(), 2, at(61)), Err(Duration::from_secs(49)));
        // Lowered by a revision: what was counted counts.
        rates.forget(at(61));
        assert_eq!(rates.count(a(), 1, at(61)), Err(Duration::from_secs(59)));
        assert_eq!(rates.count(b(), 1, at(61)), Ok(()));
        assert_eq!(rates.count(b(), 0, at(130)), Err(MINUTE));
    }
}
