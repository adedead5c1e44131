//! A program that was launched: its pipes or its terminal, and the sessions that look on.
//!
//! ```text
//! starting ──exec──▶ running ──reaped──▶ told (what its own children still write is dropped)
//!     └──failed──▶ gone
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chiton_api::{
    control::TerminalSize,
    frame::{MAX_SESSION_PAYLOAD, SessionKind},
};
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};

use crate::link::LinkId;

/// What a program has not yet read; beyond it, its sessions are not read from.
const INPUT_LIMIT: usize = 256 << 10;
/// What is read at most from a program that has ended: more than a pipe holds.
const LAST_WORDS: usize = 2 << 20;

/// Names a program for as long as the supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProgramId(pub(crate) u64);

/// How far it is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The locks are being applied; the pipe closes when the program runs, or tells why not.
    Starting {
        /// The end of the pipe that tells.
        news: OwnedFd,
        /// Who asked for it.
        asked_by: LinkId,
        /// Whether that connection becomes its session.
        attach: bool,
    },
    /// It runs.
    Running,
    /// It ended, and its sessions were told.
    Told,
}

/// A program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its process, the leader of its own session and group.
    pub(crate) pid: Pid,
    /// Whether it is the sandbox's own.
    pub(crate) main: bool,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Who looks on.
    pub(crate) sessions: BTreeSet<LinkId>,
    terminal: Option<OwnedFd>,
    input: Input,
    outputs: Vec<Output>,
}

/// The supervisor's ends of a program's standard streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// The terminal's master; the other two are then copies of it.
    pub(crate) terminal: Option<OwnedFd>,
    /// Where its input is written to.
    pub(crate) input: Option<OwnedFd>,
    /// Where its output is read from.
    pub(crate) outputs: Vec<Output>,
}

/// One stream of output.
#[derive(Debug)]
pub(crate) struct Output {
    /// Where to read; nonblocking.
    pub(crate) from: OwnedFd,
    /// What it is called in a session.
    pub(crate) kind: SessionKind,
}

#[derive(Debug)]
struct Input {
    to: Option<OwnedFd>,
    queue: VecDeque<u8>,
    ends: bool,
}

/// What reading a stream once brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The end.
    End,
}

impl Program {
    /// A program that is being started.
    pub(crate) fn new(pid: Pid, main: bool, phase: Phase, streams: Streams) -> Self {
        let input = Input { to: streams.input, queue: VecDeque::new(), ends: false };
        let (terminal, outputs) = (streams.terminal, streams.outputs);
        Self { pid, main, phase, sessions: BTreeSet::new(), terminal, input, outputs }
    }

    /// The streams to read from.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (SessionKind, BorrowedFd<'_>)> {
        self.outputs.iter().map(|output| (output.kind, output.from.as_fd()))
    }

    /// Where input waits to be written, if any does.
    pub(crate) fn input_waiting(&self) -> Option<BorrowedFd<'_>> {
        self.input.to.as_ref().filter(|_| !self.input.queue.is_empty()).map(AsFd::as_fd)
    }

    /// Whether sessions may be read from.
    pub(crate) fn takes_input(&self) -> bool {
        self.input.queue.len() < INPUT_LIMIT
    }

    /// Whether nothing can come from it any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Told) && self.outputs.is_empty()
    }

    /// Reads one piece of a stream into `buffer`; a stream at its end is forgotten.
    pub(crate) fn read(&mut self, stream: SessionKind, buffer: &mut [u8]) -> Piece {
        let Some(output) = self.outputs.iter().find(|o| o.kind == stream) else { return Piece::End };
        let piece = match rustix::io::read(&output.from, buffer) {
            Ok(0) => Piece::End,
            Ok(n) => Piece::Bytes(n),
            Err(Errno::AGAIN | Errno::INTR) => Piece::Nothing,
            // A terminal says EIO when nobody has its other end open.
            Err(_) => Piece::End,
        };
        if piece == Piece::End {
            self.outputs.retain(|o| o.kind != stream);
        }
        piece
    }

    /// Everything that is left to read of a program that has ended, bounded where its children go on writing.
    pub(crate) fn last_words(&mut self) -> Vec<(SessionKind, Vec<u8>)> {
        let mut words = Vec::new();
        let mut buffer = vec![0; MAX_SESSION_PAYLOAD];
        let mut total = 0;
        for kind in [SessionKind::Stdout, SessionKind::Stderr] {
            while total < LAST_WORDS
                && let Piece::Bytes(n) = self.read(kind, &mut buffer)
            {
                total += n;
                words.push((kind, buffer.get(..n).unwrap_or_default().to_vec()));
            }
        }
        words
    }

    /// A session's input: bytes, or its end where there are none.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            // A terminal has no end of its own: its user types one.
            self.input.ends = self.terminal.is_none();
        } else if self.input.to.is_some() && !self.input.ends {
            self.input.queue.extend(bytes);
        }
        self.write_input();
    }

    /// Writes as much of the waiting input as the program takes now.
    pub(crate) fn write_input(&mut self) {
        while let Some(to) = &self.input.to {
            if self.input.queue.is_empty() {
                break;
            }
            match rustix::io::write(to, self.input.queue.as_slices().0) {
                Ok(n) => drop(self.input.queue.drain(..n)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.input.to = None;
                    self.input.queue.clear();
                }
            }
        }
        if self.input.ends && self.input.queue.is_empty() {
            self.input.to = None;
        }
    }

    /// One session less. Without any, nobody can type: piped input ends, and the terminal of an `exec` is
    /// hung up.
    pub(crate) fn leave(&mut self, session: LinkId) {
        self.sessions.remove(&session);
        if !self.sessions.is_empty() {
            return;
        }
        if self.terminal.is_none() {
            self.feed(&[]);
        } else if !self.main {
            self.hang_up();
        }
    }

    /// Gives the terminal a size; its foreground group hears of it from the kernel.
    pub(crate) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        Ok(chiton_sys::pty::set_size(terminal, size.rows, size.columns)?)
    }

    /// Sends it a signal. Those that a keyboard makes go to its whole group, as a terminal would send them.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if matches!(self.phase, Phase::Told) {
            return Ok(());
        }
        let sent = if [Signal::INT, Signal::QUIT, Signal::HUP, Signal::TSTP].contains(&signal) {
            rustix::process::kill_process_group(self.pid, signal)
        } else {
            rustix::process::kill_process(self.pid, signal)
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn hang_up(&mut self) {
        self.terminal = None;
        self.input = Input { to: None, queue: VecDeque::new(), ends: true };
        self.outputs.clear();
    }
}
