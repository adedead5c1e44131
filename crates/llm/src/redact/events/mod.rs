//! Server-sent events, cleaned of values that are cut in pieces among them.
//!
//! A provider's stream tells a text in pieces, an event each, and the agent joins them: what no run of bytes
//! holds stands in the joined text all the same. So the strings of each event are followed by their place
//! ([`scan`]), and from the event on in which a text ends as any value might go on, be it one or not, all is held until
//! the text has gone on otherwise ([`follow`]). Everything else flows as it came, a line at a time.

mod follow;
mod lines;
mod scan;
mod text;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::find::Finder;
use follow::Follower;
use lines::Lines;

/// When nothing has come for so long, the texts so far are taken to be whole, and nothing of them is held any more:
/// who told them may wait for an answer.
pub const QUIET: Duration = Duration::from_millis(250);

/// Why an event stream cannot be followed, and must be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowable {
    /// An event does not end.
    #[error("the response holds an event of over 8 MiB, which cannot be searched for credentials")]
    TooLong,
    /// An event has too many values.
    #[error("the response holds an event of over 65536 values, which cannot be searched for credentials")]
    TooMany,
}

/// Cleans one event stream.
pub(super) struct Events {
    lines: Lines,
    follower: Follower,
}

impl Events {
    pub(super) fn new(finder: Arc<Finder>) -> Self {
        Self { lines: Lines::default(), follower: Follower::new(finder) }
    }

    /// Takes the next bytes and gives what the caller may see by now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Unfollowable> {
        self.lines.push(bytes);
        let mut out = Vec::new();
        while let Some(unit) = self.lines.next()? {
            self.follower.follow(unit, &mut out);
        }
        Ok(Bytes::from(out))
    }

    /// Whether anything is held that more events, or none for [`QUIET`], would let go.
    pub(super) fn waits(&self) -> bool {
        self.follower.waits()
    }

    /// Nothing came for [`QUIET`]: what was held for what might follow.
    pub(super) fn quiet(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.follower.let_go(&mut out);
        Bytes::from(out)
    }

    /// What is left at the stream's end.
    pub(super) fn finish(mut self) -> Result<Bytes, Unfollowable> {
        let mut out = Vec::new();
        if let Some(unit) = self.lines.rest()? {
            self.follower.follow(unit, &mut out);
        }
        self.follower.let_go(&mut out);
        Ok(Bytes::from(out))
    }
}

#[cfg(test)]
mod tests;
