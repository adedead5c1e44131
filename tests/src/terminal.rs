//! A terminal of the test's own.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::Chiton;

/// A command in a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    /// Our own handle of its end, which tells the terminal's modes.
    pub end: OwnedFd,
    /// The command line.
    pub child: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    /// Starts `chiton ARGUMENTS` in one of 33 rows and 111 columns.
    ///
    /// # Panics
    /// When there is no terminal to be had.
    #[must_use]
    pub fn run(chiton: &Chiton, arguments: &[&str]) -> Self {
        Self::run_in(chiton, arguments, (33, 111))
    }

    /// The same, in one of so many rows and columns.
    ///
    /// # Panics
    /// As [`Terminal::run`].
    #[must_use]
    pub fn run_in(chiton: &Chiton, arguments: &[&str], (rows, columns): (u16, u16)) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other end");
        let name = ptsname(&keyboard, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let end = File::options().read(true).write(true).open(name).expect("its other end");
        size(&keyboard, rows, columns);
        let mut command = chiton.command(arguments);
        command.env("TERM", "xterm").stdin(end.try_clone().expect("a handle"));
        command
            .stdout(end.try_clone().expect("a handle"))
            .stderr(Stdio::from(end.try_clone().expect("a handle")));
        let child = command.spawn().expect("chiton");
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut reader, shown) = (File::from(keyboard.try_clone().expect("a handle")), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                shown.0.lock().expect("the screen").push_str(&String::from_utf8_lossy(&buffer[..read]));
                shown.1.notify_all();
            }
        });
        Self { keyboard: File::from(keyboard), end: end.into(), child, screen }
    }

    /// Waits until this is on the screen.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&self, text: &str) {
        let screen = self.screen.0.lock().expect("the screen");
        let limit = Duration::from_secs(30);
        let shown = self.screen.1.wait_timeout_while(screen, limit, |screen| !screen.contains(text));
        let (screen, waited) = shown.expect("the screen");
        assert!(!waited.timed_out(), "`{text}` is not on the screen:\n{screen}");
    }

    /// What was on the screen so far.
    ///
    /// # Panics
    /// When its reader did.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.0.lock().expect("the screen").clone()
    }

    /// Types.
    ///
    /// # Panics
    /// When nobody reads.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys");
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// When it takes none.
    pub fn resize(&self, rows: u16, columns: u16) {
        size(&self.keyboard, rows, columns);
        // The terminal's own foreground group is the test's: the command line is told as the kernel would.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("a signal");
    }
}

fn size(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a size");
}
