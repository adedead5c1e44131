//! The main program's output on disk: session frames, up to a limit.
//!
//! The frames in the file are always whole. When the limit is reached, or the disk is full, a last frame
//! says so where it still can, and the program runs on without being logged.

use std::os::fd::OwnedFd;

use chiton_api::frame::{self, SessionKind};

/// The file never grows past this.
const LIMIT: u64 = 32 << 20;
const FULL: &[u8] = b"\nchiton: the log is full (32 MiB), later output is not kept\n";

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    file: OwnedFd,
    size: u64,
    full: bool,
}

impl Log {
    /// Appends to `file`, which may hold what an earlier start wrote.
    pub(crate) fn new(file: OwnedFd) -> Self {
        let size = rustix::fs::fstat(&file).ok().and_then(|s| u64::try_from(s.st_size).ok()).unwrap_or(0);
        Self { file, size, full: false }
    }

    /// Keeps one piece of output.
    pub(crate) fn keep(&mut self, kind: SessionKind, payload: &[u8]) {
        if self.full {
            return;
        }
        let room = LIMIT.saturating_sub(self.size + FULL.len() as u64 + 5);
        if payload.len() as u64 + 5 > room {
            self.append(SessionKind::Stderr, FULL);
            self.full = true;
        } else {
            self.append(kind, payload);
        }
    }

    fn append(&mut self, kind: SessionKind, payload: &[u8]) {
        let Ok(header) = frame::session_header(kind, payload.len()) else { return };
        let mut bytes = Vec::with_capacity(payload.len() + 5);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
        match rustix::io::write(&self.file, &bytes) {
            Ok(n) if n == bytes.len() => self.size += n as u64,
            // Half a frame would make the rest unreadable.
            Ok(_) | Err(_) => {
                let _ = rustix::fs::ftruncate(&self.file, self.size);
                self.full = true;
            }
        }
    }
}
