//! A line on the terminal for what takes over a second; gone when it is done.

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::text::Safe;

/// Shows what is waited for, for as long as it lives; nothing in the first second, or without a terminal.
#[derive(Debug)]
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// As "stopping `demo`".
    pub(crate) fn of(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let line = format!("{} …", Safe::line(what));
        let (done, waiting) = channel();
        let thread = thread::spawn(move || {
            if waiting.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                write(&line);
                // Ends when the other end is dropped.
                let _ = waiting.recv();
                write("\r\u{1b}[2K");
            }
        });
        Self(Some((done, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            // It only writes a line; one that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // A terminal that went away needs no line.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
