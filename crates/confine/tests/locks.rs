//! What a started process has lost, and that each lock is what took it.

mod harness;

use chiton_confine::seccomp::Disposition;
use harness::{As, MAPPED, Setup, Workspace, kinds};

/// Makes raw calls: prints the error of each, 0 for success.
const RAW: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    ctypes.set_errno(0)
    r = libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
    return ctypes.get_errno() if r == -1 else 0
";

fn python(setup: &Setup, script: &str) -> String {
    setup.run(&["/usr/bin/python3", "-c", &format!("{RAW}{script}")]).text
}

#[test]
fn no_capability_no_new_privilege_no_core_no_descriptor() {
    for who in kinds() {
        let out = Setup::new(who).sh(
            "grep -E '^(Cap|NoNewPrivs|Seccomp:|SigBlk|SigIgn|Groups|Uid)' /proc/self/status; ulimit -Hc; ulimit -Hp; umask; \
             ls /proc/self/fd",
        );
        for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
            assert!(out.text.contains(&format!("Cap{set}:\t0000000000000000\n")), "{out:?}");
        }
        assert!(out.text.contains("NoNewPrivs:\t1\n") && out.text.contains("Seccomp:\t2\n"), "{out:?}");
        assert!(out.text.contains("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"), "{out:?}");
        assert!(out.text.ends_with("\n0\n4096\n0022\n0\n1\n2\n3\n"), "{out:?}");
    }
}

#[test]
fn roots_agent_is_an_id_of_nobody() {
    if !kinds().contains(&As::Root) {
        return;
    }
    let workspace = Workspace::new(As::Root);
    std::fs::write(workspace.path().join("roots"), "secret").unwrap();
    std::fs::set_permissions(
        workspace.path().join("roots"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let out = Setup::new(As::Root).workspace(workspace.path()).sh(
        "id -u; cat /proc/self/uid_map; cat /workspace/roots; cat /etc/ssl/private/x /proc/1/environ; exit 0",
    );
    let map: Vec<&str> = out.text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(map, ["1000", MAPPED.to_string().as_str(), "1"]);
    // The workspace's owner is root, whom the mount maps to the agent.
    assert!(out.text.contains("secret"), "{out:?}");
}

#[test]
fn the_baseline_refuses() {
    let script = "
path = ctypes.c_char_p(b'/tmp')
for number in (165, 166, 155, 161, 308, 321, 298, 323, 248, 250, 304, 303, 310, 311, 438, 312, 167, 169, 175, 246, 164, 227, 428, 429, 430, 432, 442, 300, 180):
    print(number, call(number, path, path, 0, 0, 0), end=' ')
print()
for number in (435, 425, 426, 427, 447, 470, 500, 0x3fffffff, 0x40000000 + 39, 0x40000001):
    print(number, call(number, 0, 0, 0, 0, 0), end=' ')
";
    for who in kinds() {
        let text = python(&Setup::new(who), script);
        let (refused, missing) = text.split_once('\n').unwrap();
        for (line, errno) in [(refused, "1"), (missing, "38")] {
            for pair in line.split_whitespace().collect::<Vec<_>>().chunks(2) {
                assert_eq!(pair[1], errno, "call {}: {text}", pair[0]);
            }
        }
    }
}

#[test]
fn a_new_user_namespace_is_refused_by_the_filter_alone() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        let script = "print(call(272, 0x10000000), call(56, 0x10000000 | 17, 0, 0, 0, 0))";
        assert_eq!(python(&setup, script).trim(), "1 1");
        // Without that line of the filter the kernel would make one.
        setup.change = |plan| {
            plan.seccomp.calls.insert(272, Disposition::Allow);
        };
        assert_eq!(python(&setup, "print(call(272, 0x10000000))").trim(), "0");
    }
}

#[test]
fn set_id_bits_and_devices_are_refused_by_the_filter_alone() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        let mut setup = Setup::new(who).workspace(workspace.path());
        let script = "
import os
open('/workspace/f', 'w').close()
f = ctypes.c_char_p(b'/workspace/f'); g = ctypes.c_char_p(b'/workspace/g')
fd = os.open('/workspace/f', os.O_RDONLY)
print(call(90, f, 0o4755), call(268, -100, f, 0o2755), call(452, -100, f, 0o4755, 0), call(91, fd, 0o6755),
      call(257, -100, g, os.O_CREAT | os.O_WRONLY, 0o4755), call(83, g, 0o2755), call(133, g, 0o104755, 0),
      call(133, g, 0o020666, 0x103), call(90, f, 0o755))
";
        assert_eq!(python(&setup, script).trim(), "1 1 1 1 1 1 1 1 0");
        setup.change = |plan| {
            plan.seccomp.calls.insert(90, Disposition::Notify);
        };
        assert!(python(&setup, script).starts_with("0 1"));
    }
}

#[test]
fn a_blocked_call_and_its_siblings_are_asked_about() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        let script = "print(call(101, 0, 0, 0, 0), call(165, 0, 0, 0, 0, 0), call(432, 0, 0, 0), call(63, ctypes.create_string_buffer(400)))";
        // ptrace(TRACEME) works, mount is refused by the baseline.
        assert_eq!(python(&setup, script).trim(), "0 1 1 0");
        setup.rules.blocked_calls = [101, 165, 63].into();
        assert_eq!(python(&setup, script).trim(), "1 1 1 1");
    }
}

#[test]
fn what_every_start_needs_cannot_be_blocked() {
    let mut setup = Setup::new(As::Ordinary);
    setup.rules.blocked_calls = [59].into();
    let out = setup.sh("echo started");
    assert_eq!(out.status, 125);
    assert!(out.text.contains("`execve`"), "{out:?}");
}

#[test]
fn terminals_and_datagrams() {
    for who in kinds() {
        let script = "
import fcntl, os, socket, termios
a, b = os.openpty()
print(call(16, b, 0x5412, ctypes.c_char_p(b'x')), call(16, b, 0x541C, ctypes.c_char_p(b'x')), call(16, b, 0x100005412, ctypes.c_char_p(b'x')), call(16, b, 0x5423, ctypes.c_char_p(b'x')))
print(os.ttyname(b), os.get_terminal_size(b).columns >= 0)
socket.socketpair()
try: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
except PermissionError: print('refused')
";
        assert_eq!(python(&Setup::new(who), script), "1 1 1 1\n/dev/pts/0 True\nrefused\n");
    }
}

#[test]
fn landlock_holds_by_itself() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        let mut setup = Setup::new(who).workspace(workspace.path());
        assert_eq!(setup.sh("touch /tmp/x && echo wrote").text, "wrote\n");
        // The view lets it, the ruleset does not.
        setup.change = |plan| plan.landlock.rules.retain(|(path, _)| !path.starts_with("/tmp"));
        let out = setup.sh("touch /tmp/x || echo refused; touch /workspace/x && echo workspace");
        assert!(out.text.ends_with("refused\nworkspace\n"), "{out:?}");
        // And without it the view alone lets.
        setup.change = |plan| {
            plan.landlock.abi = 0;
        };
        assert_eq!(setup.sh("touch /tmp/x && echo wrote").text, "wrote\n");
    }
}

/// The kernel drops what the first process of a pid namespace is sent from inside and has no handler for. Those that the
/// standard library has for `SIGSEGV` and `SIGBUS` ended it, both at once, where registers are large (AVX-512).
#[test]
fn init_heeds_no_signal_and_cannot_be_traced() {
    for who in kinds() {
        let script = "
import os, signal, time
for n in range(1, 65):
    try: os.kill(1, n)
    except OSError: pass
time.sleep(0.2)
# It would have ended everything with it.
print('still here')
print(call(101, 16, 1, 0, 0))
";
        assert_eq!(python(&Setup::new(who), script), "still here\n1\n");
    }
}

#[test]
fn init_is_closed_without_landlock_too() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        setup.change = |plan| plan.landlock.abi = 0;
        let out = setup.sh("cat /proc/1/environ; ls /proc/1/fd /proc/1/root/; head -c 1 /proc/1/mem; exit 0");
        assert_eq!(out.text.matches("denied").count(), 4, "{out:?}");
    }
}

#[test]
fn a_fork_bomb_ends_at_the_limit() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        setup.change = |plan| plan.limits.processes = 20;
        let out = setup.run(&[
            "/usr/bin/python3",
            "-c",
            "
import os, time
n = 0
try:
    while n < 100:
        if os.fork() == 0: time.sleep(600)
        n += 1
except BlockingIOError: pass
print(n < 20)
",
        ]);
        assert_eq!(out.text, "True\n");
    }
}
