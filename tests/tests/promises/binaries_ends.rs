//! `binaries` against who takes another connection's place: by the end that it shows, or by holding the connection where
//! nobody looks.

use chiton_tests::{World, http_policy};

/// Connections in the clear to `api.example.com`, and what the kernel says of this network's.
const COMMON: &str = r#"
import ctypes, os, socket, subprocess, threading, time
REQUEST = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
def to(port): return socket.getaddrinfo("api.example.com", port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
def bound(port):
    s = socket.socket(); s.settimeout(20)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", port)); return s
def status(s):
    s.settimeout(20); print(s.recv(65536).split(b" ")[1].decode(), flush=True)
# Own port, other port, state, bytes to be read.
def sockets():
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        words = line.split(); port = lambda end: int(end.split(":")[1], 16)
        yield port(words[1]), port(words[2]), words[3], int(words[4].split(":")[1], 16)
def until(found):
    for _ in range(2000):
        there = [one for one in sockets() if found(*one)]
        if there: return there
        time.sleep(0.01)
    raise TimeoutError
"#;

/// What Python prints, line by line, under a rule for these executables.
fn attacked(binaries: &str, script: &str) -> String {
    let mut world = World::echo(&["api.example.com"]);
    let address = world.upstream.address();
    world.chiton.resolve("api.example.com:80", address);
    world.chiton.write_workspace("attack.py", format!("{COMMON}{script}"));
    let rule = format!("{{host: api.example.com, scheme: http{binaries}}}");
    let out = world.sh(&http_policy(&[&rule]), "/usr/bin/python3 attack.py").expect_success().stdout;
    // The upstream server speaks TLS: a request that is let through ends in 502 or 400, never in 403.
    let refused = |line: &str| if line == "403" { "refused" } else { "passed" };
    out.lines().map(refused).collect::<Vec<_>>().join(" ")
}

/// Two sockets have one port, towards two places. Turned to the proxy they would be one connection, so the kernel gives
/// the second another port on its way, and an allowed program is made to connect by that one.
#[test]
fn an_end_that_was_changed_on_the_way_is_not_another_programs() {
    let script = r#"
first = bound(0); first.connect(to(443)); port = first.getsockname()[1]
[(proxy, *_)] = until(lambda own, other, state, _: other == port and state == "01")
before = {other for own, other, *_ in sockets() if own == proxy}
second = bound(port); second.connect(to(80))
[(_, shown, *_)] = until(lambda own, other, state, _: own == proxy and state == "01" and other not in before)
assert shown != port
allowed = subprocess.Popen(["curl", "-s", "--interface", "127.0.0.1", "--local-port", str(shown),
                            "telnet://api.example.com:80"], stdin=subprocess.PIPE)
until(lambda own, other, state, _: own == shown and other == 80 and state == "01")
second.sendall(REQUEST); status(second)
allowed.kill()
"#;
    assert_eq!(attacked(", binaries: [/usr/bin/curl]", script), "refused");
    // Where nobody asks who connects it does not matter.
    assert_eq!(attacked("", script), "passed");
}

/// Of two sockets of which one is bound to a device, both may have the same two ends.
#[test]
fn no_socket_is_bound_to_a_device() {
    let script = r#"
import struct
for option, value in ((25, b"lo"), (62, struct.pack("i", 1))):
    for family in (socket.AF_INET, socket.AF_INET6):
        s = socket.socket(family)
        try:
            s.setsockopt(socket.SOL_SOCKET, option, value); print("bound", flush=True)
        except PermissionError:
            print("403", flush=True)
"#;
    assert_eq!(attacked("", script), "refused refused refused refused");
}

#[test]
fn the_ends_of_either_family_are_told() {
    let world = World::echo(&["api.example.com"]);
    let ask = "-s -o /dev/null -w '%{http_code}\\n' https://api.example.com/x";
    let policy = http_policy(&["{host: api.example.com, binaries: [/usr/bin/curl]}"]);
    let out = world.sh(&policy, &format!("curl -4 {ask}; curl -6 {ask}")).expect_success().stdout;
    assert_eq!(out, "200\n200\n");
}

/// A thread may have descriptors of its own, which its process's list does not show.
#[test]
fn a_thread_with_a_table_of_its_own_holds_the_connection_too() {
    // Both are Python; what the kernel calls `exe` is another file.
    let script = r#"
THREAD = """
import ctypes, os, socket, sys, threading
s = socket.socket(fileno=int(sys.argv[1])); own, alone = threading.Event(), threading.Event()
def hold():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    own.set(); alone.wait()
    s.sendall(b"GET /x HTTP/1.1\\r\\nHost: api.example.com\\r\\n\\r\\n")
    s.settimeout(20); print(s.recv(65536).split(b" ")[1].decode(), flush=True)
thread = threading.Thread(target=hold); thread.start()
own.wait(); os.close(s.fileno()); alone.set(); thread.join(); os._exit(0)
"""
s = socket.create_connection(to(80)); s.set_inheritable(True)
copy = "/tmp/other"
open(copy, "wb").write(open("/usr/bin/python3", "rb").read()); os.chmod(copy, 0o755)
subprocess.run([copy, "-c", THREAD, str(s.fileno())], close_fds=False, check=True, env=dict(os.environ, PYTHONHOME="/usr"))
"#;
    assert_eq!(attacked(", binaries: [/usr/bin/python3]", script), "refused");
}

/// What was said stays in the kernel for a moment, and comes to the proxy while the descriptor is under way.
#[test]
fn a_connection_that_nobody_holds_has_no_owner() {
    let script = r#"
ours, theirs = socket.socketpair()
s = socket.create_connection(to(80)); port = s.getsockname()[1]
s.send(REQUEST, socket.MSG_MORE); socket.send_fds(ours, [b"x"], [s.fileno()]); s.close()
until(lambda own, other, state, waits: own == port and other == 80 and waits > 0)
_, [fd], *_ = socket.recv_fds(theirs, 16, 1)
status(socket.socket(fileno=fd))
"#;
    assert_eq!(attacked(", binaries: [/usr/bin/python3]", script), "refused");
}
