//! An attached session: bytes between the caller's terminal or pipes and a program inside, until it ends.
//!
//! The caller's own thread reads the connection, and writes nothing to it: a program that takes none of it must not hold
//! up its own output. Threads write whole frames: one reads standard input, and one passes signals on, begun when the
//! first of them comes, or before output that may have to wait. They end with the process.

use std::{
    cell::RefCell,
    io::{self, BufReader, IsTerminal as _, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use chiton_api::{
    control::Exit,
    frame::{MAX_SESSION_PAYLOAD, SessionKind, parse_session_header, session_header},
    http::Denials,
};
use chiton_sys::signal::{self, SignalFd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Signal,
};

use crate::terminal::{self, RawMode};

/// What the caller wants of the session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    /// Whether the program has a terminal: the caller's becomes raw.
    pub(crate) terminal: bool,
    /// Whether standard input is passed on.
    pub(crate) stdin: bool,
}

/// How the session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program ended. What was refused, where that was told.
    Exit(Exit, Option<Denials>),
    /// The caller typed ctrl-p ctrl-q; the program runs on.
    Detached,
    /// The connection broke before the program's end was told.
    Lost,
}

/// The keys that leave a session: ctrl-p, then ctrl-q.
const LEAVE: [u8; 2] = [0x10, 0x11];

/// Passes a signal on by another way than the session, which is full of input that the program does not take.
pub(crate) type Aside = Box<dyn Fn(u8) + Send>;

/// Carries the session to its end. `early` are bytes of it that came with the upgrade's answer.
pub(crate) fn carry(stream: UnixStream, early: Vec<u8>, wishes: Wishes, aside: Aside) -> io::Result<Ended> {
    // A program may take its input when it likes.
    stream.set_write_timeout(None)?;
    let writer = Writer::to(stream.try_clone()?);
    let raw = if wishes.terminal { Some(RawMode::enter()?) } else { None };
    let signals = RefCell::new(Signals::of(writer.clone(), wishes.terminal, aside)?);
    if wishes.stdin {
        let writer = writer.clone();
        thread::spawn(move || pump_stdin(&writer, wishes.terminal));
    }
    if wishes.terminal {
        // It may have changed since it was told; and the program may have ended already.
        let _ = writer.resize();
    }
    let from = BufReader::new(io::Cursor::new(early).chain(Watched { stream, signals: &signals }));
    let ended = copy_output(from, |to, length| signals.borrow_mut().before_writing(to, length));
    drop(raw);
    ended
}

#[derive(Clone, Debug)]
struct Writer(Arc<Writing>);

#[derive(Debug)]
struct Writing {
    stream: Mutex<UnixStream>,
    /// A signal waits, and input lets it go before.
    urgent: AtomicBool,
    /// Frames of input that went.
    went: AtomicUsize,
}

impl Writer {
    fn to(stream: UnixStream) -> Self {
        let (urgent, went) = Default::default();
        Self(Arc::new(Writing { stream: Mutex::new(stream), urgent, went }))
    }

    fn lock(&self) -> MutexGuard<'_, UnixStream> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends input, after what is urgent.
    fn send(&self, payload: &[u8]) -> io::Result<()> {
        let frame = frame(SessionKind::Stdin, payload)?;
        while self.0.urgent.load(Relaxed) {
            thread::sleep(PERIOD);
        }
        self.lock().write_all(&frame)?;
        self.0.went.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Sends a small frame where there is room for it soon. False where a program that takes no input leaves none.
    fn send_soon(&self, kind: SessionKind, payload: &[u8]) -> io::Result<bool> {
        let frame = frame(kind, payload)?;
        self.0.urgent.store(true, Relaxed);
        let sent = self.send_between(&frame);
        self.0.urgent.store(false, Relaxed);
        sent
    }

    fn send_between(&self, frame: &[u8]) -> io::Result<bool> {
        let (mut since, mut went) = (Instant::now(), self.0.went.load(Relaxed));
        while since.elapsed() < ROOM {
            if let Ok(mut stream) = self.0.stream.try_lock()
                && is_ready(stream.as_fd(), PollFlags::OUT)
            {
                stream.write_all(frame)?;
                return Ok(true);
            }
            thread::sleep(PERIOD);
            let now = self.0.went.load(Relaxed);
            if now != went {
                (since, went) = (Instant::now(), now);
            }
        }
        Ok(false)
    }

    fn resize(&self) -> io::Result<()> {
        let Some(size) = terminal::size() else { return Ok(()) };
        let mut payload = size.rows.to_be_bytes().to_vec();
        payload.extend_from_slice(&size.columns.to_be_bytes());
        self.send_soon(SessionKind::Resize, &payload).map(drop)
    }

    /// Ends the session from this side; the program runs on.
    fn leave(&self) {
        let stream = self.lock();
        // The other end may have closed it first, which is what was wanted.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

fn frame(kind: SessionKind, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = session_header(kind, payload.len())?.to_vec();
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// `before` is told where how much will be written next.
fn copy_output(mut from: impl Read, mut before: impl FnMut(BorrowedFd<'_>, usize)) -> io::Result<Ended> {
    let mut payload = vec![0; MAX_SESSION_PAYLOAD];
    let mut refused = None;
    loop {
        let mut header = [0; 5];
        if let Err(error) = from.read_exact(&mut header) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof if LEFT.load(Relaxed) => Ok(Ended::Detached),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(Ended::Lost),
                _ => Err(error),
            };
        }
        let (kind, len) = parse_session_header(header)?;
        let Some(payload) = payload.get_mut(..len) else { return Err(io::ErrorKind::InvalidData.into()) };
        from.read_exact(payload)?;
        match kind {
            SessionKind::Stdout => {
                before(io::stdout().as_fd(), len);
                pass_on(io::stdout().as_fd(), payload)?;
            }
            SessionKind::Stderr => {
                before(io::stderr().as_fd(), len);
                pass_on(io::stderr().as_fd(), payload)?;
            }
            SessionKind::Refusals => refused = Some(serde_json::from_slice(payload)?),
            SessionKind::Exit => return Ok(Ended::Exit(serde_json::from_slice(payload)?, refused)),
            SessionKind::Stdin | SessionKind::Resize | SessionKind::Signal => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame for the other direction"));
            }
        }
    }
}

/// A reader of ours that went away does not end the program: its output is dropped, as Docker does. Another process may
/// have made the stream one that does not wait, which it is then for us too. Not by `io::stdout`: how much of it was
/// written its buffer would not tell.
fn pass_on(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::AGAIN) => await_that(to, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            // Its terminal is gone, or its file's disk full: as little of the program's doing.
            Err(Errno::PIPE | Errno::IO | Errno::NOSPC) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_ready(stream: BorrowedFd<'_>, to: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(&stream, to)], Some(&now)), Ok(1..))
}

fn await_that(stream: BorrowedFd<'_>, is: PollFlags) -> io::Result<()> {
    let mut fds = [PollFd::new(&stream, is)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(())
}

/// Whether the caller left by the keys.
static LEFT: AtomicBool = AtomicBool::new(false);

fn pump_stdin(writer: &Writer, keys: bool) {
    let mut buffer = vec![0; MAX_SESSION_PAYLOAD];
    let mut armed = false;
    loop {
        // Not `io::stdin()`: its buffer would swallow what a second reader of the terminal waits for.
        let read = match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) if await_that(io::stdin().as_fd(), PollFlags::IN).is_ok() => continue,
            Err(_) => 0,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        if keys && leaves(bytes, &mut armed) {
            LEFT.store(true, Relaxed);
            return writer.leave();
        }
        if writer.send(bytes).is_err() || read == 0 {
            return;
        }
    }
}

/// Whether the keys that leave the session are in what was typed, also across two reads.
fn leaves(bytes: &[u8], armed: &mut bool) -> bool {
    let [first, second] = LEAVE;
    for byte in bytes {
        if *armed && *byte == second {
            return true;
        }
        *armed = *byte == first;
    }
    false
}

/// What is passed on to the program. In a terminal session the keys arrive as bytes, so these are signals that
/// somebody sent to us.
const FORWARDED: [Signal; 6] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// A pipe that has room at all has room for this (pipe(7), `PIPE_BUF`), as long as we alone write to it.
const AT_ONCE: usize = 4096;

/// So long a signal waits for room among what the program is to read.
const ROOM: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_millis(10);

/// These wait. One that our caller had ignored is not for the program either; blocked it would arrive nevertheless.
fn held(signals: impl Iterator<Item = Signal>) -> io::Result<SignalFd> {
    let numbers: Vec<_> = signals.map(Signal::as_raw).filter(|number| !signal::is_ignored(*number)).collect();
    Ok(SignalFd::new(&numbers)?)
}

/// So long one that comes before the session waits for it.
const BEGINNING: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Signals that come before there is a session, and would end us: the program may have been started, and nobody would
/// know. They wait for the session, which passes them on, or for a moment where it does not begin: then they end us, and
/// the gateway, whose answer nobody takes, ends what it has begun.
pub(crate) struct Early(SignalFd);

impl Early {
    /// They wait from here on. Before there is another thread.
    pub(crate) fn hold() -> io::Result<Self> {
        Ok(Self(held(FORWARDED.into_iter())?))
    }

    /// Waits for the gateway's answer.
    pub(crate) fn until_answered(&self, stream: &UnixStream) -> io::Result<()> {
        let mut fds = [PollFd::new(stream, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let answered = || {
            rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&BEGINNING)))
        };
        if fds[0].revents().is_empty()
            && answered()? == 0
            && let Some(arrived) = self.0.next()?
        {
            std::process::exit(arrived.number.saturating_add(128));
        }
        Ok(())
    }
}

/// Signals that were sent to us.
struct Signals {
    /// None where a thread passes them on.
    here: Option<(SignalFd, Aside)>,
    writer: Writer,
}

impl Signals {
    /// Those that are passed on wait from here on. Before there is another thread.
    fn of(writer: Writer, terminal: bool, aside: Aside) -> io::Result<Self> {
        let resized = terminal.then_some(Signal::WINCH);
        Ok(Self { here: Some((held(FORWARDED.into_iter().chain(resized))?, aside)), writer })
    }

    /// Waits for the connection, and for a signal: the first that comes begins the thread.
    fn watch(&mut self, stream: &UnixStream) {
        let Some((here, _)) = &self.here else { return };
        let mut fds = [PollFd::new(here, PollFlags::IN), PollFd::new(stream, PollFlags::IN)];
        // What keeps us from waiting here, reading the connection tells.
        let _ready = rustix::io::retry_on_intr(|| poll(&mut fds, None));
        if !fds[0].revents().is_empty() {
            self.hand_over();
        }
    }

    /// Whoever reads our output may let us wait. A terminal does, also one that has room.
    fn before_writing(&mut self, to: BorrowedFd<'_>, length: usize) {
        let at_once = length <= AT_ONCE && !to.is_terminal() && is_ready(to, PollFlags::OUT);
        if !at_once {
            self.hand_over();
        }
    }

    /// A thread passes them on from here on.
    fn hand_over(&mut self) {
        let Some((here, aside)) = self.here.take() else { return };
        let writer = self.writer.clone();
        thread::spawn(move || {
            loop {
                let mut fds = [PollFd::new(&here, PollFlags::IN)];
                let waited = rustix::io::retry_on_intr(|| poll(&mut fds, None));
                if waited.is_err() || forward(&here, &writer, &aside).is_err() {
                    return;
                }
            }
        });
    }
}

/// Passes on what has come.
fn forward(signals: &SignalFd, writer: &Writer, aside: &Aside) -> io::Result<()> {
    while let Some(arrived) = signals.next()? {
        if arrived.number == Signal::WINCH.as_raw() {
            writer.resize()?;
        } else if let Ok(number) = u8::try_from(arrived.number)
            && !writer.send_soon(SessionKind::Signal, &[number])?
        {
            aside(number);
        }
    }
    Ok(())
}

/// The connection, and signals while it says nothing.
struct Watched<'a> {
    stream: UnixStream,
    signals: &'a RefCell<Signals>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.signals.borrow_mut().watch(&self.stream);
        self.stream.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: SessionKind, payload: &[u8]) -> Vec<u8> {
        super::frame(kind, payload).unwrap()
    }

    #[test]
    fn ends_with_the_programs_exit() {
        let bytes = frame(SessionKind::Exit, br#"{"code":3}"#);
        assert_eq!(copy_output(&bytes[..], |_, _| {}).unwrap(), Ended::Exit(Exit::of(3), None));
        let bytes = [frame(SessionKind::Refusals, br#"{"count":2}"#), bytes].concat();
        let refused = Denials { count: 2, ..Denials::default() };
        assert_eq!(copy_output(&bytes[..], |_, _| {}).unwrap(), Ended::Exit(Exit::of(3), Some(refused)));
    }

    #[test]
    fn a_broken_connection_is_no_exit() {
        assert_eq!(copy_output(&[][..], |_, _| {}).unwrap(), Ended::Lost);
        assert!(copy_output(&frame(SessionKind::Stdin, b"x")[..], |_, _| {}).is_err());
    }

    #[test]
    fn the_leaving_keys_are_seen_across_reads() {
        let mut armed = false;
        assert!(!leaves(b"a\x10", &mut armed));
        assert!(leaves(b"\x11b", &mut armed));
        assert!(!leaves(b"\x10a\x11", &mut armed));
    }
}
