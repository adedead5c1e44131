//! Sandboxes as a Docker user expects them: `ps show stop start rm wait logs exec`.

use std::process::Stdio;

use chiton_testkit::{As, Chiton};

use crate::POLICY;

fn detached(chiton: &Chiton, name: &str, script: &str) {
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let run = chiton.run(&["run", "-d", "-n", name, "-p", policy, "--", "sh", "-c", script]).expect_status(0);
    assert_eq!(run.stdout, format!("{name}\n"), "the name alone");
}

#[test]
fn a_sandbox_from_its_start_to_its_removal() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        detached(&chiton, "box", "echo begun; while :; do sleep 0.05; done");
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
        let taken = chiton.run(&["run", "-n", "box", "--", "true"]).expect_status(125);
        assert!(taken.stderr.contains("`box` is in use"), "{taken:?}");
        assert_eq!(chiton.run(&["exec", "box", "sh", "-c", "echo $CHITON_SANDBOX; exit 3"]).stdout, "box\n");
        assert_eq!(chiton.run(&["exec", "box", "sh", "-c", "exit 3"]).status, 3);
        let running = chiton.run(&["rm", "box"]).expect_status(1);
        assert!(running.stderr.contains("hint: "), "{running:?}");
        assert_eq!(chiton.run(&["stop", "-t", "1", "box"]).stdout, "box\n");
        assert_eq!(chiton.run(&["wait", "box"]).status, 143);
        assert_eq!(chiton.run(&["logs", "box"]).stdout, "begun\n");
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "");
        let _ = chiton.run(&["start", "box"]).expect_success();
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
        assert_eq!(chiton.run(&["rm", "-f", "box"]).stdout, "box\n");
        assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
        assert_eq!(chiton.run(&["show", "box"]).status, 1);
    }
}

#[test]
fn lists_and_facts_as_tables_and_as_json() {
    let chiton = Chiton::new(As::User);
    detached(&chiton, "box", "exec sleep 600");
    let table = chiton.run(&["ps"]).stdout;
    let header: Vec<_> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NAME", "STATE", "DRIVER", "CREATED", "COMMAND", "POLICY"]);
    assert!(!table.contains('\u{1b}'), "no colour in a pipe");
    let list = chiton.run(&["ps", "--json"]).json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"box".into(), &"running".into()));
    assert_eq!(chiton.run(&["ps", "-q", "--json"]).json(), serde_json::json!(["box"]));
    let shown = chiton.run(&["show", "box", "--json"]).json();
    let layers = shown["report"]["layers"].as_array().expect("layers");
    assert!(!layers.is_empty() && layers.iter().all(|layer| layer["enforced"] == true), "{shown:#}");
    assert!(chiton.run(&["show", "box"]).stdout.contains("enforced:"));
}

#[test]
fn logs_follow_to_the_end() {
    let chiton = Chiton::new(As::User);
    detached(&chiton, "box", "for i in 1 2 3; do echo $i; echo e$i >&2; sleep 0.1; done");
    let followed = chiton.run(&["logs", "-f", "box"]);
    assert_eq!((followed.stdout.as_str(), followed.stderr.as_str()), ("1\n2\n3\n", "e1\ne2\ne3\n"));
}

#[test]
fn one_that_was_to_be_removed_is_gone() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    assert_eq!(chiton.sandboxed(&policy, &["true"]).status, 0);
    let left = chiton.run(&["ps", "-aq"]).stdout;
    assert_eq!(left, "");
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let chiton = Chiton::new(As::User);
    let copied = chiton.run(&["cp", "a", "box:/b"]).expect_status(1);
    assert!(copied.stderr.contains("`chiton cp` is not supported yet"), "{copied:?}");
}

#[test]
fn one_session_signals_what_another_started() {
    let chiton = Chiton::new(As::User);
    detached(&chiton, "box", "trap 'echo told' USR1; echo $$; while :; do sleep 0.05; done");
    let server = "sleep 600 >/dev/null 2>&1 & echo $!";
    let server = chiton.run(&["exec", "box", "sh", "-c", server]).expect_success().stdout;
    let kill = format!("kill {}", server.trim());
    let _ = chiton.run(&["exec", "box", "sh", "-c", &kill]).expect_success();
    let gone = format!("while kill -0 {} 2>/dev/null; do sleep 0.05; done", server.trim());
    let _ = chiton.run(&["exec", "box", "timeout", "20", "sh", "-c", &gone]).expect_success();
    let own = chiton.run(&["logs", "box"]).stdout;
    let _ = chiton.run(&["exec", "box", "kill", "-USR1", own.trim()]).expect_success();
    assert!(chiton_testkit::soon(std::time::Duration::from_secs(20), || {
        chiton.run(&["logs", "box"]).stdout.ends_with("told\n")
    }));
    // Ours takes none.
    let _ = chiton.run(&["exec", "box", "sh", "-c", "for s in KILL TERM INT CHLD; do kill -$s 1; done"]);
    assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
}

/// As Codex does to itself before all else.
#[test]
fn a_program_that_hides_from_its_own_user_finds_itself() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let script = r#"
import ctypes, os
own = os.path.realpath("/proc/self/exe")
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
assert os.readlink("/proc/self/exe") == own and os.readlink(f"/proc/{os.getpid()}/exe") == own
assert open("/proc/self/exe", "rb").read(4) == b"\x7fELF" and os.stat("/proc/self/exe").st_size > 0
assert os.readlink("/proc/self/cwd") == "/workspace" and os.listdir("/proc/self/cwd") == os.listdir(".")
pid = os.fork()
if pid == 0:
    parent = os.getppid()
    for name in "exe", "cwd", "root", "environ", "mem":
        try: os.open(f"/proc/{parent}/{name}", os.O_RDONLY); print("another's", name)
        except OSError: pass
    os._exit(0)
os.waitpid(pid, 0)
print("found")
"#;
    let outcome = chiton.sandboxed(&policy, &["/usr/bin/python3", "-c", script]);
    assert_eq!(outcome.stdout, "found\n", "{outcome:?}");
}

#[test]
fn one_that_is_being_made_can_be_removed_by_force() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(POLICY);
    let run = ["run", "-d", "-n", "box", "-p", policy.to_str().expect("UTF-8"), "--", "sleep", "600"];
    for _ in 0..10 {
        let mut making = chiton.command(&run);
        let mut making = making.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("chiton");
        while chiton.run(&["ps", "-aq"]).stdout.is_empty() {}
        let _ = chiton.run(&["rm", "-f", "box"]).expect_success();
        let _ = making.wait().expect("its end");
        assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    }
}
