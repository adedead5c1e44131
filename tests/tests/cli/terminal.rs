//! A terminal at both ends: size, keys, job control, and the caller's own terminal as it was.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use chiton_testkit::{As, Chiton};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};

use crate::POLICY;

/// A command in a terminal of its own.
struct Terminal {
    keyboard: File,
    /// Our own handle of its end, which tells the terminal's modes.
    end: OwnedFd,
    child: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    fn open(chiton: &Chiton, script: &str) -> Self {
        let policy = chiton.policy(POLICY);
        let policy = policy.to_str().expect("UTF-8");
        Self::run(chiton, &["run", "-n", "box", "-p", policy, "--", "bash", "--norc", "-c", script])
    }

    fn run(chiton: &Chiton, arguments: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other end");
        let name = ptsname(&keyboard, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let end = File::options().read(true).write(true).open(name).expect("its other end");
        size(&keyboard, 33, 111);
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

    fn wait_for(&self, text: &str) {
        let screen = self.screen.0.lock().expect("the screen");
        let limit = Duration::from_secs(30);
        let shown = self.screen.1.wait_timeout_while(screen, limit, |screen| !screen.contains(text));
        let (screen, waited) = shown.expect("the screen");
        assert!(!waited.timed_out(), "`{text}` is not on the screen:\n{screen}");
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys");
    }
}

fn size(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a size");
}

#[test]
fn the_program_has_the_callers_size_and_follows_it() {
    let chiton = Chiton::new(As::User);
    let script =
        "trap 'echo now $(stty size)' WINCH; echo at first $(stty size); while :; do sleep 0.05; done";
    let mut terminal = Terminal::open(&chiton, script);
    terminal.wait_for("at first 33 111");
    size(&terminal.keyboard, 40, 90);
    // The terminal's own foreground group is the test's: the command line is told as the kernel would.
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("a signal");
    terminal.wait_for("now 40 90");
    terminal.keys("\x03");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(130));
}

#[test]
fn the_callers_terminal_is_given_back() {
    let chiton = Chiton::new(As::User);
    let mut terminal = Terminal::open(&chiton, "echo ready; read line; echo got $line");
    terminal.wait_for("ready");
    let raw = tcgetattr(&terminal.end).expect("modes");
    assert!(!raw.local_modes.contains(rustix::termios::LocalModes::ICANON), "raw while it runs");
    terminal.keys("words\r");
    terminal.wait_for("got words");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(0));
    let after = tcgetattr(&terminal.end).expect("modes");
    assert!(
        after.local_modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
    );
}

#[test]
fn leaving_keeps_it_running() {
    let chiton = Chiton::new(As::User);
    let mut terminal = Terminal::open(&chiton, "echo ready; while :; do sleep 0.05; done");
    terminal.wait_for("ready");
    terminal.keys("\x10\x11");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(0));
    terminal.wait_for("chiton attach box");
    assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
}

#[test]
fn a_killed_command_line_leaves_the_sandbox() {
    let chiton = Chiton::new(As::User);
    let mut terminal = Terminal::open(&chiton, "echo ready; while :; do sleep 0.05; done");
    terminal.wait_for("ready");
    terminal.child.kill().expect("a signal");
    terminal.child.wait().expect("its end");
    assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
    assert_eq!(chiton.run(&["exec", "box", "true"]).status, 0);
}

#[test]
fn a_secret_is_typed_without_echo() {
    let chiton = Chiton::new(As::User);
    let mut terminal = Terminal::run(&chiton, &["secret", "set", "openai"]);
    terminal.wait_for("value of openai: ");
    let hidden = tcgetattr(&terminal.end).expect("modes");
    assert!(!hidden.local_modes.contains(rustix::termios::LocalModes::ECHO));
    terminal.keys("sk-typed-by-hand\r");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(0));
    terminal.wait_for("local://openai");
    assert!(!terminal.screen.0.lock().expect("the screen").contains("typed-by-hand"));
    assert_eq!(chiton.run(&["secret", "ls", "--json"]).json()[0]["name"], "openai");
}
