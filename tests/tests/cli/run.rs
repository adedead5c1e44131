//! `chiton run` and `exec`: status, streams, errors.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chiton_testkit::{As, Chiton, Outcome, soon};
use chiton_tests::{gateway, has_socket};
use rustix::process::{Pid, Signal, kill_process};

use crate::POLICY;

const PATIENCE: Duration = Duration::from_secs(20);

fn each_user(test: fn(&Chiton)) {
    for user in [As::User, As::Root] {
        test(&Chiton::new(user));
    }
}

fn sandboxed(chiton: &Chiton, arguments: &[&str]) -> Outcome {
    chiton.sandboxed(&chiton.policy(POLICY), arguments)
}

#[test]
fn the_status_is_the_commands_own() {
    each_user(|chiton| {
        assert_eq!(sandboxed(chiton, &["true"]).status, 0);
        assert_eq!(sandboxed(chiton, &["sh", "-c", "exit 7"]).status, 7);
        assert_eq!(sandboxed(chiton, &["sh", "-c", "kill -9 $$"]).status, 137);
        assert_eq!(sandboxed(chiton, &["sh", "-c", "kill -15 $$"]).status, 143);
    });
}

#[test]
fn what_fails_before_the_start_is_125_126_127() {
    let chiton = Chiton::new(As::User);
    let absent = sandboxed(&chiton, &["no-such-program"]).expect_status(127);
    assert!(absent.stderr.starts_with("error: `no-such-program` was not found"), "{absent:?}");
    chiton.write_workspace("plain", "text");
    assert_eq!(sandboxed(&chiton, &["./plain"]).status, 126);
    let cases: &[&[&str]] = &[
        &["run", "--no-such-option", "--", "true"],
        &["run", "-p", "/nonexistent.yaml", "--", "true"],
        &["run", "-w", "/nonexistent", "--", "true"],
        &["run", "--image", "debian", "--", "true"],
        &["run", "--driver", "docker", "--", "true"],
        &["run", "--driver", "hovercraft", "--", "true"],
        &["run", "-n", "No Name", "--", "true"],
        &["run", "-r", "/nonexistent", "--", "true"],
        &["exec", "nobody", "true"],
        &["wait", "nobody"],
    ];
    for case in cases {
        let outcome = chiton.run(case).expect_status(125);
        let errors: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{case:?} {outcome:?}");
        assert_eq!(outcome.stdout, "", "{case:?}");
    }
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "", "nothing is left of what never started");
}

#[test]
fn streams_are_passed_on_apart_and_whole() {
    each_user(|chiton| {
        let both = sandboxed(chiton, &["sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
        let policy = chiton.policy(POLICY);
        let policy = policy.to_str().expect("UTF-8");
        let text = "0123456789abcdef\n".repeat(20_000);
        let copied = chiton.run_with(&["run", "--rm", "-p", policy, "--", "cat"], &text);
        assert!(
            copied.status == 0 && copied.stdout == text,
            "{} of {} bytes",
            copied.stdout.len(),
            text.len()
        );
        let long = sandboxed(chiton, &["seq", "200000"]);
        assert_eq!(long.stdout.lines().count(), 200_000);
    });
}

#[test]
fn variables_are_given_or_passed_on_and_no_others() {
    let mut chiton = Chiton::new(As::User);
    chiton.variable("PASSED", "caller").variable("HIDDEN", "caller");
    let policy = chiton.policy(&format!("{POLICY}  process:\n    env: [PASSED]\n"));
    let policy = policy.to_str().expect("UTF-8");
    let script = "echo $GIVEN.$PASSED.$NAMED.$HIDDEN.$ABSENT";
    let outcome = chiton.run(&[
        "run",
        "--rm",
        "-p",
        policy,
        "-e",
        "GIVEN=a=b",
        "-e",
        "NAMED",
        "-e",
        "ABSENT",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(outcome.stdout, "a=b.caller...\n", "{outcome:?}");
}

#[test]
fn the_policys_values_are_inside_for_run_and_exec() {
    for user in [As::User, As::Root] {
        let mut chiton = Chiton::new(user);
        chiton.variable("PASSED", "caller");
        let values = "      CI: \"1\"\n      GREETING: hello\n      HOME: /tmp\n      PASSED:\n";
        let policy = chiton.policy(&format!("{POLICY}  process:\n    env:\n{values}"));
        let policy = policy.to_str().expect("UTF-8");
        let script = "echo $CI.$GREETING.$HOME.$PASSED";
        let main = format!("{script}; sleep 1000");
        let run = ["run", "-d", "-n", "box", "-p", policy, "-e", "GREETING=bye", "--", "sh", "-c", &main];
        let _ = chiton.run(&run).expect_status(0);
        let exec = ["exec", "box", "sh", "-c", script];
        assert_eq!(chiton.run(&exec).stdout, "1.bye./tmp.caller\n");
        let given = ["exec", "-e", "CI=2", "box", "sh", "-c", script];
        assert_eq!(chiton.run(&given).stdout, "2.bye./tmp.caller\n");
        let _ = chiton.run(&["stop", "-t", "0", "box"]);
        assert_eq!(chiton.run(&["logs", "box"]).stdout, "1.bye./tmp.caller\n");
        for name in ["CHITON_SANDBOX", "SSL_CERT_FILE"] {
            let refused = chiton.run(&["run", "-e", &format!("{name}=x"), "--", "true"]).expect_status(125);
            assert!(refused.stderr.contains(&format!("the sandbox sets `{name}` itself")), "{refused:?}");
            let policy = chiton.policy(&format!("{POLICY}  process:\n    env: [{name}]\n"));
            let refused = chiton.sandboxed(&policy, &["true"]).expect_status(125);
            assert!(refused.stderr.contains("the sandbox sets this variable itself"), "{refused:?}");
        }
    }
}

#[test]
fn a_program_of_the_callers_home_is_explained_and_let_in() {
    let mut chiton = Chiton::new(As::User);
    let tool = chiton.write("home/tools/bin/tool", "#!/bin/sh\necho hello from the tool\n");
    let bin = tool.parent().expect("a folder").to_str().expect("UTF-8").to_owned();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    chiton.variable("PATH", &format!("{bin}:/usr/bin:/bin"));
    let absent = sandboxed(&chiton, &["tool"]).expect_status(127);
    assert!(absent.stderr.contains("read_only_paths: [~/tools]"), "{absent:?}");
    let folder = chiton.path("home/tools");
    let policy = chiton.policy(POLICY);
    let (policy, folder) = (policy.to_str().expect("UTF-8"), folder.to_str().expect("UTF-8"));
    let found = chiton.run(&["run", "--rm", "-p", policy, "-r", folder, "--", "tool"]);
    assert_eq!(found.stdout, "hello from the tool\n", "{found:?}");
}

#[test]
fn refusals_are_counted_in_one_line() {
    let chiton = Chiton::new(As::User);
    chiton.write_workspace(".env", "SECRET=1");
    let policy = chiton.policy(&format!("{POLICY}    denied_paths: [/workspace/.env]\n"));
    let outcome =
        chiton.run(&["run", "-n", "box", "-p", policy.to_str().expect("UTF-8"), "--", "cat", ".env"]);
    assert_ne!(outcome.status, 0);
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("chiton: 1 attempt was refused"), "{outcome:?}");
    assert!(last.ends_with("chiton audit query --sandbox box --decision deny"), "{outcome:?}");
    let silent = sandboxed(&chiton, &["true"]);
    assert_eq!(silent.stderr, "");
}

#[test]
fn the_policy_in_use_is_named_when_it_was_not_given() {
    let chiton = Chiton::new(As::User);
    let built_in = chiton.run(&["run", "--rm", "--", "true"]).expect_status(0);
    assert!(built_in.stderr.starts_with("chiton: built-in policy"), "{built_in:?}");
    chiton.write_workspace("chiton.yaml", POLICY);
    let local = chiton.run(&["run", "--rm", "--", "true"]).expect_status(0);
    assert_eq!(local.stderr, "chiton: policy ./chiton.yaml\n");
}

#[test]
fn signals_reach_the_program() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command =
        chiton.command(&["run", "--rm", "-p", policy.to_str().expect("UTF-8"), "--", "sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chiton");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).expect("the rest");
    assert_eq!((rest.as_str(), child.wait().expect("its end").code()), ("told\n", Some(9)));
}

#[test]
fn a_program_cannot_say_what_its_session_says() {
    let chiton = Chiton::new(As::User);
    chiton.write_workspace(".env", "KEY=1");
    let policy = chiton.policy(&format!("{POLICY}    denied_paths: [/workspace/.env]\n"));
    // No refusals, and an exit in good order: frames, by the bytes.
    let forged = r#"\006\000\000\000\013{"count":0}\005\000\000\000\012{"code":0}"#;
    let script = format!("cat .env 2>/dev/null; printf '{forged}'; exit 3");
    let outcome = chiton.sandboxed(&policy, &["sh", "-c", &script]).expect_status(3);
    assert_eq!(outcome.stdout, "\u{6}\0\0\0\u{b}{\"count\":0}\u{5}\0\0\0\u{a}{\"code\":0}");
    assert!(outcome.stderr.contains("chiton: 1 attempt was refused (filesystem 1)"), "{outcome:?}");
}

#[test]
fn signals_reach_the_program_while_nobody_reads_its_output() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script = "while :; do echo much of it, again and again; done";
    let mut command = chiton.command(&["run", "-n", "told", "-p", policy.to_str().expect("UTF-8"), "--"]);
    command.args(["sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("chiton");
    let mut stdout = child.stdout.take().expect("a pipe");
    let waiting = || rustix::io::ioctl_fionread(&stdout).expect("a pipe");
    let full = || {
        let before = waiting();
        std::thread::sleep(Duration::from_millis(200));
        before > 0 && before == waiting()
    };
    assert!(soon(PATIENCE, full), "the pipe is not filled");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let state = || chiton.run(&["show", "told", "--json"]).stdout;
    assert!(soon(PATIENCE, || state().contains("\"stopped\"")), "the program was not told: {}", state());
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("the rest");
    assert_eq!(child.wait().expect("its end").code(), Some(143));
}

#[test]
fn a_program_that_takes_no_input_goes_on_when_it_is_signalled() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script = "trap : USR1; echo ready; sleep 1; i=0; \
                  while [ $i -lt 20000 ]; do echo $i as long as a line of a hundred bytes or a little more would be; \
                  i=$((i+1)); done; echo end";
    let mut input = Command::new("yes").stdout(Stdio::piped()).spawn().expect("yes");
    let mut command =
        chiton.command(&["run", "--rm", "-p", policy.to_str().expect("UTF-8"), "--", "sh", "-c", script]);
    command.stdin(input.stdout.take().expect("a pipe")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("chiton");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    // By now nothing more of the input is taken.
    std::thread::sleep(Duration::from_millis(500));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("a signal");
    let reading = std::thread::spawn(move || {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut rest).map(|_| rest)
    });
    let ended = soon(PATIENCE, || reading.is_finished());
    let _ = (child.kill(), input.kill(), input.wait());
    assert!(ended, "its output stopped");
    assert!(reading.join().expect("no panic").expect("text").ends_with("\nend\n"));
    let _ = child.wait();
}

/// A program that takes none of the input that comes without end, and the command line that it is the program of.
fn with_untaken_input(chiton: &Chiton, arguments: &[&str]) -> (std::process::Child, std::process::Child) {
    let mut input = Command::new("yes").stdout(Stdio::piped()).spawn().expect("yes");
    let mut command = chiton.command(arguments);
    command.stdin(input.stdout.take().expect("a pipe")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("chiton");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut ready).expect("a line");
    // By now nothing more of the input is taken.
    std::thread::sleep(Duration::from_millis(500));
    (child, input)
}

#[test]
fn signals_end_what_takes_no_input() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let main: &[&str] = &["run", "-n", "box", "-p", policy, "--", "sh", "-c", script];
    let rest: &[&str] = &["run", "-d", "-n", "rest", "-p", policy, "--", "sleep", "600"];
    let _ = chiton.run(rest).expect_success();
    // A further program cannot be told otherwise: the command ends, as it would have without a session.
    for (arguments, status) in [(main, 9), (&["exec", "rest", "sh", "-c", script], 143)] {
        let (mut child, mut input) = with_untaken_input(&chiton, arguments);
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .expect("a signal");
        let ended = soon(PATIENCE, || child.try_wait().expect("a child").is_some());
        let _ = (child.kill(), input.kill(), input.wait());
        assert!(ended, "{arguments:?}");
        assert_eq!(child.wait().expect("its end").code(), Some(status), "{arguments:?}");
    }
}

/// More input waits than it has taken: the signal goes before what is left of it.
#[test]
fn a_program_that_takes_its_input_slowly_is_told_in_its_session() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let rest = ["run", "-d", "-n", "rest", "-p", policy.to_str().expect("UTF-8"), "--", "sleep", "600"];
    let _ = chiton.run(&rest).expect_success();
    let script = "trap 'exit 9' TERM; echo ready; while head -c 65536 >/dev/null; do sleep 0.02; done";
    let (mut child, mut input) = with_untaken_input(&chiton, &["exec", "rest", "sh", "-c", script]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("a signal");
    let ended = soon(PATIENCE, || child.try_wait().expect("a child").is_some());
    let _ = (child.kill(), input.kill(), input.wait());
    assert!(ended);
    assert_eq!(child.wait().expect("its end").code(), Some(9));
}

#[test]
fn what_the_caller_has_ignored_is_not_passed_on() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script = "echo ready; sleep 2; echo end";
    let arguments = ["run", "--rm", "-p", policy.to_str().expect("UTF-8"), "--", "sh", "-c", script];
    let mut command = chiton.command_after("trap '' HUP INT", &arguments);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("chiton");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut ready = [0; 6];
    std::io::Read::read_exact(&mut stdout, &mut ready).expect("a line");
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::INT] {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).expect("a signal");
    }
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).expect("the rest");
    assert_eq!((rest.as_str(), child.wait().expect("its end").code()), ("end\n", Some(0)));
}

/// Another process of the same pipe may have made it so, for all of its users.
#[test]
fn streams_that_do_not_wait_are_waited_for() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script =
        "cat; i=0; while [ $i -lt 20000 ]; do echo a line of about forty bytes, and $i; i=$((i+1)); done";
    let mut command =
        chiton.command(&["run", "--rm", "-p", policy.to_str().expect("UTF-8"), "--", "sh", "-c", script]);
    let (input, mut keys) = std::io::pipe().expect("a pipe");
    let (mut read, output) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&input, true).expect("it does not wait");
    rustix::io::ioctl_fionbio(&output, true).expect("it does not wait");
    let mut child = command.stdin(input).stdout(output).stderr(Stdio::null()).spawn().expect("chiton");
    drop(command);
    std::thread::sleep(Duration::from_millis(500));
    std::io::Write::write_all(&mut keys, b"typed late\n").expect("input");
    drop(keys);
    // The pipe is full by then.
    std::thread::sleep(Duration::from_secs(1));
    let mut all = String::new();
    std::io::Read::read_to_string(&mut read, &mut all).expect("output");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    assert!(all.starts_with("typed late\n") && all.ends_with("and 19999\n"), "{} bytes", all.len());
    assert_eq!(all.lines().count(), 20_001);
}

#[test]
fn a_signal_before_the_session_is_the_programs() {
    let chiton = Chiton::new(As::User);
    let _ = chiton.run(&["gateway", "start"]).expect_success();
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let script = "trap 'exit 7' INT; echo begun >begun; while :; do sleep 0.05; done";
    let mut command = chiton.command(&["run", "-n", "box", "-p", policy, "--", "sh", "-c", script]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chiton");
    let id = Pid::from_child(&child);
    // Between its request and the answer it stands still: until the program runs, of which it does not know.
    let is_asked =
        || std::fs::read_dir(chiton.path("state/sandboxes")).is_ok_and(|mut all| all.next().is_some());
    let since = Instant::now();
    while !is_asked() {
        assert!(since.elapsed() < PATIENCE, "nothing is asked for");
    }
    kill_process(id, Signal::STOP).expect("it runs");
    let begun = chiton.workspace().join("begun");
    assert!(soon(Duration::from_secs(20), || begun.exists()));
    kill_process(id, Signal::INT).expect("it is there");
    kill_process(id, Signal::CONT).expect("it is there");
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(7), "the program's own");
    assert!(soon(Duration::from_secs(5), || chiton.run(&["ps", "-q"]).stdout.is_empty()));
}

#[test]
fn a_signal_ends_who_waits_for_a_session_that_does_not_begin() {
    let chiton = Chiton::new(As::User);
    let _ = chiton.run(&["gateway", "start"]).expect_success();
    let gateway = gateway(&chiton);
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("UTF-8");
    kill_process(gateway, Signal::STOP).expect("it runs");
    let mut command = chiton.command(&["run", "-n", "box", "-p", policy, "--", "sleep", "600"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("chiton");
    assert!(soon(PATIENCE, || has_socket(child.id())));
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    let ended = child.wait().expect("its end");
    kill_process(gateway, Signal::CONT).expect("it is there");
    // Held until then, or not yet: it ends by it.
    let by = std::os::unix::process::ExitStatusExt::signal(&ended);
    assert!(ended.code() == Some(130) || by == Some(2), "{ended:?}");
    assert!(soon(Duration::from_secs(5), || chiton.run(&["ps", "-q"]).stdout.is_empty()));
}
