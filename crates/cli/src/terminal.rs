//! The caller's terminal: raw while a session holds it, and as it was before on every way out.

use std::{
    io::{self, IsTerminal},
    panic,
    sync::Mutex,
};

use chiton_api::control::TerminalSize;
use rustix::{
    fs::{FileType, Stat, fstat},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

/// The number of `/dev/null`, which is the same everywhere (null(4)).
const NULL: u64 = 1 << 8 | 3;

/// What the terminal was like; here and not in the guard, so that a panic on any thread finds it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode, for as long as it lives.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Turns the terminal of standard input raw.
    pub(crate) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let saved = tcgetattr(&stdin)?;
        let mut raw = saved.clone();
        raw.make_raw();
        if let Ok(mut slot) = SAVED.lock() {
            *slot = Some(saved);
        }
        restore_on_panic();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was. May be repeated.
pub(crate) fn restore() {
    let saved = SAVED.lock().ok().and_then(|mut slot| slot.take());
    if let Some(saved) = saved {
        // The terminal may be gone (a hang-up): then there is nothing to give back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &saved);
    }
}

/// Whether standard input and output are both a terminal.
#[must_use]
pub(crate) fn interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Whether standard input is `/dev/null`.
#[must_use]
pub(crate) fn input_is_null() -> bool {
    let is_null = |found: Stat| {
        FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == NULL
    };
    fstat(io::stdin()).is_ok_and(is_null)
}

/// The terminal's size now.
#[must_use]
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Reads one line from the terminal without showing it.
pub(crate) fn read_hidden(prompt: &str) -> io::Result<String> {
    use std::io::Write;

    use rustix::termios::LocalModes;

    let stdin = io::stdin();
    let saved = tcgetattr(&stdin)?;
    let mut hidden = saved.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    if let Ok(mut slot) = SAVED.lock() {
        *slot = Some(saved);
    }
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let guard = RawMode(());
    write!(io::stderr(), "{prompt}")?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    drop(guard);
    read?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    Ok(line)
}

fn restore_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        before(info);
    }));
}
