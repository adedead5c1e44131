//! Whether a log is as it was written.
//!
//! What is found: any line whose content or link was changed, a line taken out, lines in another order, and
//! an end cut off, where a [`Head`] kept elsewhere says how far the log had come. What cannot be found: a
//! log written anew from some line to its end together with every head that was kept, since the hashes
//! have no key; keep heads on another machine where that matters.

use serde::{Deserialize, Serialize};

use crate::{Event, EventId, Hash, chain};

/// How far a log had come: kept beside the log, and anywhere else one likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of lines.
    pub count: u64,
    /// The hash of the last.
    pub hash: Hash,
}

impl Head {
    /// Of a log without a line.
    pub const EMPTY: Head = Head { count: 0, hash: Hash::GENESIS };
}

/// What a sound log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Events of the chained log.
    pub chained: u64,
    /// Events of tails that wait to be chained.
    pub waiting: u64,
    /// Where the chained log ends.
    pub head: Head,
}

/// What was done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The line is not what was written.
    Changed,
    /// Something that stood before this line (or after the last one) is missing or was replaced.
    Removed,
    /// What stood before this line stands after it now.
    Reordered,
}

impl Fault {
    /// As written in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Changed => "changed",
            Fault::Removed => "removed",
            Fault::Reordered => "reordered",
        }
    }
}

/// The first place where a log is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", self.message())]
pub struct Broken {
    /// The line, from 1. For an end that was cut off: the line after the last.
    pub line: u64,
    /// The event of that line, where it can be read.
    pub id: Option<EventId>,
    /// The event of the line before.
    pub after: Option<EventId>,
    /// What was done.
    pub what: Fault,
}

impl Broken {
    fn message(&self) -> String {
        let line = self.line;
        let id = self.id.map_or_else(|| format!("line {line}"), |id| format!("event {id} (line {line})"));
        match (self.what, self.after) {
            (Fault::Changed, _) => format!("{id} was changed"),
            (Fault::Reordered, _) => format!("{id} was reordered: what stood before it comes later"),
            (Fault::Removed, None) => format!("the events before {id} were removed"),
            (Fault::Removed, Some(after)) if self.id.is_some() => {
                format!("what stood between event {after} and {id} was removed, or {after} was replaced")
            }
            (Fault::Removed, Some(after)) => format!("the events after {after} were removed"),
        }
    }
}

/// Checks a chained log from its first line, and that it reaches `head`, where one was kept.
///
/// # Errors
/// The first event that was changed, removed or reordered.
pub fn verify<I>(lines: I, head: Option<Head>) -> Result<Summary, Broken>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut at = Head::EMPTY;
    let mut after = None;
    let mut reached = head.is_none_or(|head| head.count == 0);
    let mut lines = lines.into_iter();
    while let Some(line) = lines.next() {
        let line = line.as_ref();
        let broken = |id, what| Broken { line: at.count + 1, id, after, what };
        let linked = Event::parse(line).map_err(|_| broken(None, Fault::Changed))?;
        let id = Some(linked.event.id);
        let (prev, hash) = linked.link.ok_or(broken(id, Fault::Changed))?;
        if chain::expected(line) != Some(hash) {
            return Err(broken(id, Fault::Changed));
        }
        if prev != at.hash {
            let comes_later = lines.any(|line| hash_of(line.as_ref()) == Some(prev));
            return Err(broken(id, if comes_later { Fault::Reordered } else { Fault::Removed }));
        }
        at = Head { count: at.count + 1, hash };
        after = id;
        if let Some(head) = head.filter(|head| head.count == at.count) {
            if head.hash != at.hash {
                return Err(Broken { line: at.count, id, after: None, what: Fault::Changed });
            }
            reached = true;
        }
    }
    if !reached {
        return Err(Broken { line: at.count + 1, id: None, after, what: Fault::Removed });
    }
    Ok(Summary { chained: at.count, waiting: 0, head: at })
}

/// Checks a spool: a chained file that the gateway may not have read to its end. Its last line may be cut
/// short by a process that was killed in the middle of it.
///
/// # Errors
/// As [`verify`].
pub fn verify_spool(text: &str) -> Result<u64, Broken> {
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
    verify(whole.lines(), None).map(|summary| summary.chained)
}

fn hash_of(line: &str) -> Option<Hash> {
    chain::split(line).map(|(_, (_, hash))| hash)
}
