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
    limit: u64,
    full: bool,
}

impl Log {
    /// Appends to `file`, which may hold what an earlier start wrote.
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self::limited(file, LIMIT)
    }

    fn limited(file: OwnedFd, limit: u64) -> Self {
        let size = rustix::fs::fstat(&file).ok().and_then(|s| u64::try_from(s.st_size).ok()).unwrap_or(0);
        Self { file, size, limit, full: false }
    }

    /// Keeps one piece of output.
    pub(crate) fn keep(&mut self, kind: SessionKind, payload: &[u8]) {
        if self.full {
            return;
        }
        let room = self.limit.saturating_sub(self.size + FULL.len() as u64 + 5);
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    fn frames(mut file: std::fs::File) -> Vec<(SessionKind, Vec<u8>)> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        let mut frames = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<5>() {
            let (kind, len) = frame::parse_session_header(*header).unwrap();
            frames.push((kind, after[..len].to_vec()));
            rest = &after[len..];
        }
        assert!(rest.is_empty(), "half a frame");
        frames
    }

    #[test]
    fn at_the_limit_a_last_frame_says_so() {
        let file = tempfile::tempfile().unwrap();
        let mut log = Log::limited(file.try_clone().unwrap().into(), 200);
        for _ in 0..20 {
            log.keep(SessionKind::Stdout, b"ten bytes.");
        }
        let frames = frames(file);
        assert!(frames.len() > 2 && frames.len() < 20);
        let (last, rest) = frames.split_last().unwrap();
        assert_eq!((last.0, last.1.as_slice()), (SessionKind::Stderr, FULL));
        assert!(rest.iter().all(|(kind, bytes)| *kind == SessionKind::Stdout && bytes == b"ten bytes."));
    }

    #[test]
    fn what_an_earlier_start_wrote_counts() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &[b'x'; 180]).unwrap();
        let mut log = Log::limited(file.try_clone().unwrap().into(), 200);
        log.keep(SessionKind::Stdout, b"more");
        log.keep(SessionKind::Stdout, b"and more");
        assert!(file.metadata().unwrap().len() <= 180 + FULL.len() as u64 + 5);
    }
}
