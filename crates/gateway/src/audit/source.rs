//! One event file of a supervisor or a proxy, and how far it was read.
//!
//! The file is another process's: a line that is no event is told of by one of ours, and never stops the rest;
//! which sandbox an event is of is told by whose file it is, not by what it says.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use chiton_api::name::SandboxName;
use chiton_audit::{Entry, Event, Layer};
use jiff::Timestamp;

use super::log::own_fault;

/// So much is read at once: some seventy events. Whoever wakes up on that core meanwhile waits for as long as these
/// take, and standing back between two pieces costs as much as chaining 8 KiB.
const PIECE: u64 = 32 << 10;
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

/// Something that was read of a file.
pub(super) struct Read {
    /// The event; none of what is not told of.
    pub(super) entry: Option<Entry>,
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

    /// What its file holds now that is not chained: a turn goes so far and no further, whatever is appended meanwhile.
    pub(super) fn rest(&self) -> io::Result<Option<Rest>> {
        let Some((name, path)) = &self.file else { return Ok(None) };
        let Some(mut file) = open(path)? else { return Ok(None) };
        let until = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.position))?;
        Ok(Some(Rest {
            name: name.clone(),
            file,
            position: self.position,
            until,
            begun: Vec::new(),
            none: 0,
        }))
    }

    /// The layers of the refusals since a moment, of what is chained.
    pub(super) fn denied_since(&self, since: Timestamp) -> Vec<Layer> {
        let mut denied = Vec::new();
        let Ok(Some(mut chained)) = Self { position: 0, ..self.clone() }.rest() else { return denied };
        chained.until = self.position;
        let refused = |Read { entry, .. }: &Read| {
            let entry = entry.as_ref()?;
            entry.denied.filter(|_| entry.time.as_micros() >= since.as_microsecond())
        };
        while let Ok(read) = chained.next()
            && !read.is_empty()
        {
            denied.extend(read.iter().filter_map(refused));
        }
        denied
    }
}

/// Some of an event file that is to be chained.
pub(super) struct Rest {
    name: SandboxName,
    file: File,
    /// As far as events were taken.
    position: u64,
    until: u64,
    /// What was read past that: the beginning of a line.
    begun: Vec<u8>,
    /// How many of the last lines were no events.
    none: usize,
}

impl Rest {
    /// Some events of whole lines, in their order; none where there are no more.
    pub(super) fn next(&mut self) -> io::Result<Vec<Read>> {
        let Self { name, file, position, until, begun, none } = self;
        let fault = |what, position| vec![Read { entry: Some(of(name, own_fault(what))), position }];
        if until < position {
            *position = *until;
            return Ok(fault("event_file_shortened", *until));
        }
        let end = |bytes: &[u8]| memchr::memrchr(b'\n', bytes);
        let mut most = PIECE;
        loop {
            let read = *position + u64::try_from(begun.len()).unwrap_or(0);
            let room = (*position + most).min(*until).saturating_sub(read);
            file.take(room).read_to_end(begun)?;
            if end(begun).is_some() || most == LONGEST {
                break;
            }
            most = (most * 2).min(LONGEST);
        }
        let Some(end) = end(begun) else {
            // Half a line waits for its other half; a megabyte without an end is no line, and what follows it is not
            // looked at: a hole may be as long as no disk.
            if u64::try_from(begun.len()) != Ok(LONGEST) {
                return Ok(Vec::new());
            }
            (*position, *begun) = (*until, Vec::new());
            return Ok(fault("event_unreadable", *until));
        };
        let mut begins = 0;
        let lines = memchr::memchr_iter(b'\n', begun.get(..=end).unwrap_or_default()).map(|ends| {
            let line = begun.get(begins..ends).unwrap_or_default();
            *position += u64::try_from(ends + 1 - begins).unwrap_or(0);
            begins = ends + 1;
            (entry(line, name), *position)
        });
        let read = told(lines, name, none);
        begun.drain(..=end);
        Ok(read)
    }
}

/// The file, where there is one. Whose it is may have put a lease on it, which is not waited for.
fn open(path: &Path) -> io::Result<Option<File>> {
    match chiton_sys::file::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => Ok(None),
        other => other.map(Some),
    }
}

/// The events of these lines. A run of lines that are none, of which there were `none` before, is told of twice: a byte
/// of another process does not become a line of the log.
fn told(
    lines: impl Iterator<Item = (Option<Entry>, u64)>,
    name: &SandboxName,
    none: &mut usize,
) -> Vec<Read> {
    let mut read = Vec::<Read>::new();
    for (entry, position) in lines {
        *none = if entry.is_some() { 0 } else { *none + 1 };
        match read.last_mut() {
            Some(last) if *none > 2 => last.position = position,
            _ if *none > 2 => read.push(Read { entry: None, position }),
            _ => {
                let entry = entry.unwrap_or_else(|| of(name, own_fault("event_unreadable")));
                read.push(Read { entry: Some(entry), position });
            }
        }
    }
    read
}

fn entry(line: &[u8], name: &SandboxName) -> Option<Entry> {
    Entry::read(std::str::from_utf8(line).ok()?, name.as_str()).ok()
}

fn of(name: &SandboxName, mut event: Event) -> Entry {
    event.sandbox = Some(name.to_string());
    Entry::from(&event)
}
