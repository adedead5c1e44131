//! Where events go.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use crate::{Chain, Event};

/// Something that keeps events. What a caller does after an error is its own matter, but an effect whose
/// event was not kept must not be seen.
pub trait Sink {
    /// Keeps one event; it is written when this returns.
    ///
    /// # Errors
    /// When it could not be kept. Nothing of it remains.
    fn append(&mut self, event: &Event) -> Result<(), SinkError>;

    /// Keeps an event on which no effect depends, as the figures of a response that has ended: it is written with
    /// the next one, or by [`flush`](Sink::flush).
    ///
    /// # Errors
    /// As [`append`](Sink::append), where it has to be written now.
    fn defer(&mut self, event: &Event) -> Result<(), SinkError> {
        self.append(event)
    }

    /// Writes what was deferred.
    ///
    /// # Errors
    /// When it could not be kept. Nothing of it remains.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Why an event could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file could not be written.
    #[error("cannot write the event file: {0}")]
    Write(#[source] io::Error),
    /// The file could not be read back at the start.
    #[error("cannot resume the event file: {0}")]
    Resume(#[source] io::Error),
    /// The last whole line is not a chained event.
    #[error("cannot resume the event file: its last line is not a chained event; move the file away")]
    NotAChain,
}

/// A chained event file with one writer. A line is written by one call, so that a process killed at any
/// moment leaves at most one line cut short, which the next writer removes.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// As it is at the end of the file.
    chain: Chain,
    end: u64,
    /// Lines that are to be written, and the chain as it will be then.
    waiting: String,
    next: Chain,
}

/// So much may wait.
const WAITING: usize = 16 * 1024;

/// More than the longest line: every text at its longest, every character escaped.
const BLOCK: u64 = 512 * 1024;

impl Spool {
    /// Goes on with a file, open for reading and writing (or appending).
    ///
    /// # Errors
    /// When the file cannot be read, or its last line is no chained event.
    pub fn resume(mut file: File) -> Result<Self, SinkError> {
        let length = file.seek(SeekFrom::End(0)).map_err(SinkError::Resume)?;
        let start = length.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start)).map_err(SinkError::Resume)?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).map_err(SinkError::Resume)?;
        let Some(newline) = tail.iter().rposition(|byte| *byte == b'\n') else {
            if start > 0 {
                return Err(SinkError::NotAChain);
            }
            return Self::cut(file, Chain::NEW, (length, 0));
        };
        let whole = tail.get(..newline).unwrap_or_default();
        let line = whole.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| SinkError::NotAChain)?;
        let linked = Event::parse(line).map_err(|_| SinkError::NotAChain)?;
        let (_, hash) = linked.link.ok_or(SinkError::NotAChain)?;
        let end = start + u64::try_from(newline).unwrap_or(u64::MAX).saturating_add(1);
        Self::cut(file, Chain::after(hash), (length, end))
    }

    fn cut(mut file: File, chain: Chain, (length, end): (u64, u64)) -> Result<Self, SinkError> {
        if length != end {
            file.set_len(end).map_err(SinkError::Resume)?;
        }
        file.seek(SeekFrom::Start(end)).map_err(SinkError::Resume)?;
        Ok(Self { file, chain, end, waiting: String::new(), next: chain })
    }

    fn add(&mut self, event: &Event) {
        self.next = self.next.link_onto(event, &mut self.waiting);
        self.waiting.push('\n');
    }
}

impl Sink for Spool {
    fn append(&mut self, event: &Event) -> Result<(), SinkError> {
        self.add(event);
        self.flush()
    }

    fn defer(&mut self, event: &Event) -> Result<(), SinkError> {
        self.add(event);
        if self.waiting.len() < WAITING { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(self.waiting.as_bytes());
        let length = u64::try_from(self.waiting.len()).unwrap_or(0);
        self.waiting.clear();
        if let Err(error) = written {
            // Half a line is worse than none; when even that fails, the next start cuts it.
            let _ = self.file.set_len(self.end).and_then(|()| self.file.seek(SeekFrom::Start(self.end)));
            self.next = self.chain;
            return Err(SinkError::Write(error));
        }
        self.chain = self.next;
        self.end += length;
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // That it could not be written shows at the next event, where there is one.
        let _ = self.flush();
    }
}
