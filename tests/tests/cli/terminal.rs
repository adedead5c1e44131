//! A terminal at both ends: size, keys, job control, and the caller's own terminal as it was.

use chiton_testkit::{As, Chiton};
use chiton_tests::terminal::Terminal;
use rustix::termios::tcgetattr;

use crate::POLICY;

fn open(chiton: &Chiton, script: &str) -> Terminal {
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("UTF-8");
    Terminal::run(chiton, &["run", "-n", "box", "-p", policy, "--", "bash", "--norc", "-c", script])
}

#[test]
fn the_program_has_the_callers_size_and_follows_it() {
    let chiton = Chiton::new(As::User);
    let script =
        "trap 'echo now $(stty size)' WINCH; echo at first $(stty size); while :; do sleep 0.05; done";
    let mut terminal = open(&chiton, script);
    terminal.wait_for("at first 33 111");
    terminal.resize(40, 90);
    terminal.wait_for("now 40 90");
    terminal.keys("\x03");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(130));
}

#[test]
fn the_callers_terminal_is_given_back() {
    let chiton = Chiton::new(As::User);
    let mut terminal = open(&chiton, "echo ready; read line; echo got $line");
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
    let mut terminal = open(&chiton, "echo ready; while :; do sleep 0.05; done");
    terminal.wait_for("ready");
    terminal.keys("\x10\x11");
    assert_eq!(terminal.child.wait().expect("its end").code(), Some(0));
    terminal.wait_for("chiton attach box");
    assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
}

#[test]
fn a_killed_command_line_leaves_the_sandbox() {
    let chiton = Chiton::new(As::User);
    let mut terminal = open(&chiton, "echo ready; while :; do sleep 0.05; done");
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
    assert!(!terminal.screen().contains("typed-by-hand"));
    assert_eq!(chiton.run(&["secret", "ls", "--json"]).json()[0]["name"], "openai");
}

/// A serial line says that its terminal has no columns.
#[test]
fn a_terminal_of_no_known_width() {
    let chiton = Chiton::new(As::User);
    let _ = chiton.run(&["run", "-d", "-n", "narrow", "--", "sleep", "1000"]).expect_success();
    for size in [(0, 0), (5, 12)] {
        let mut terminal = Terminal::run_in(&chiton, &["ps"], size);
        assert_eq!(terminal.child.wait().expect("its end").code(), Some(0));
        terminal.wait_for("COMMAND");
        terminal.wait_for("narrow");
    }
}
