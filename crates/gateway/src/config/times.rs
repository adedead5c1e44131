//! Times, as `30s`, `5m` or `1h`, and how long values of servers and commands hold.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A time, as `30s`, `5m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bad = || serde::de::Error::custom("expected a time from `1s` to `24h`, as `30s`, `5m` or `1h`");
        let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(bad)?;
        let (count, unit) = text.split_at_checked(at).ok_or_else(bad)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(bad()),
        };
        let seconds = count.parse::<u64>().ok().and_then(|count| count.checked_mul(seconds));
        let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(bad)
    }
}

/// When a value is asked for again, where nothing is said.
pub(super) const fn refresh() -> Span {
    Span(Duration::from_secs(5 * 60))
}

/// How long one is used that is not given again.
pub(super) const fn keep() -> Span {
    Span(Duration::from_secs(60 * 60))
}

/// How long one is waited for.
pub(super) const fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

/// How long a value holds, and how long it is waited for.
pub(super) struct Times {
    pub(super) refresh: Duration,
    pub(super) keep: Duration,
    pub(super) timeout: Duration,
}

impl Times {
    /// Of a section, where they go together: `refresh`, `keep`, `timeout`.
    pub(super) fn of(section: &str, spans: [Span; 3]) -> Result<Self, String> {
        let [refresh, keep, timeout] = spans.map(|Span(time)| time);
        if refresh > keep {
            return Err(format!(
                "`{section} refresh` is longer than `keep`: a value would not be used before it is due"
            ));
        }
        if timeout > LONGEST_TIMEOUT {
            return Err(format!("`{section} timeout` is longer than a minute: a start would wait for it"));
        }
        Ok(Self { refresh, keep, timeout })
    }
}
