//! One event file of a supervisor or a proxy, and how far it was read.
//!
//! The file is another process's: a line that is no event is told of by one of ours, and never stops the rest;
//! which sandbox an event is of is told by whose file it is, not by what it says.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek, SeekFrom},
    path::PathBuf,
};

use chiton_api::name::SandboxName;
use chiton_audit::{Decision, Event, Layer};
use jiff::Timestamp;

use super::log::own_fault;

/// So much is read at once: some tens of events.
const PIECE: u64 = 16 << 10;
/// So much where no line ends in that; more than the longest line.
const LONGEST: u64 = 1 << 20;

/// How far a file was read.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// Bytes that are chained.
    pub(super) position: u64,
    file: Option<(SandboxName, PathBuf)>,
    followed: bool,
}

/// One event of a file.
pub(super) struct Read {
    /// The event.
    pub(super) event: Event,
    /// Where to go on once it is chained.
    pub(super) position: u64,
}

impl Tail {
    pub(super) fn at(position: u64) -> Self {
        Self { position, file: None, followed: false }
    }

    pub(super) fn follow(&mut self, name: &SandboxName, path: PathBuf) {
        self.file = Some((name.clone(), path));
        self.followed = true;
    }

    pub(super) fn leave(&mut self) {
        self.followed = false;
    }

    pub(super) fn is_followed(&self) -> bool {
        self.followed
    }

    pub(super) fn file(&self) -> Option<(SandboxName, PathBuf, u64)> {
        self.file.as_ref().map(|(name, path)| (name.clone(), path.clone(), self.position))
    }

    /// Some events of whole lines past the position, in their order; none where there are none.
    pub(super) fn read(&self) -> io::Result<Vec<Read>> {
        let Some((name, path)) = &self.file else { return Ok(Vec::new()) };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let fault = |what, position| vec![Read { event: of(name, own_fault(what)), position }];
        let length = file.metadata()?.len();
        if length < self.position {
            return Ok(fault("event_file_shortened", length));
        }
        if length == self.position {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        for most in [PIECE, LONGEST - PIECE] {
            file.by_ref().take(most).read_to_end(&mut bytes)?;
            if end(&bytes).is_some() {
                break;
            }
        }
        let Some(end) = end(&bytes) else {
            // Half a line waits for its other half; a megabyte without an end is no line.
            let read = u64::try_from(bytes.len()).unwrap_or(LONGEST);
            let skip = read == LONGEST;
            return Ok(if skip { fault("event_unreadable", self.position + read) } else { Vec::new() });
        };
        let mut position = self.position;
        let whole = bytes.get(..end).unwrap_or_default();
        let lines = whole.split(|byte| *byte == b'\n');
        Ok(lines
            .map(|line| {
                position += u64::try_from(line.len()).unwrap_or(0) + 1;
                Read { event: of(name, event(line)), position }
            })
            .collect())
    }

    /// The layers of the refusals since a moment, of what is chained.
    pub(super) fn denied_since(&self, since: Timestamp) -> Vec<Layer> {
        let Some((_, path)) = &self.file else { return Vec::new() };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(self.position).read_to_end(&mut bytes));
        if read.is_err() {
            return Vec::new();
        }
        let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let events = whole.split(|byte| *byte == b'\n').map(event);
        let refused = |event: &Event| {
            event.decision == Some(Decision::Deny) && event.time.as_micros() >= since.as_microsecond()
        };
        events.filter(refused).map(|event| event.layer).collect()
    }
}

fn event(line: &[u8]) -> Event {
    let parsed = std::str::from_utf8(line).ok().and_then(|line| Event::parse(line).ok());
    parsed.map_or_else(|| own_fault("event_unreadable"), |linked| linked.event)
}

fn of(name: &SandboxName, mut event: Event) -> Event {
    event.sandbox = Some(name.to_string());
    event
}
