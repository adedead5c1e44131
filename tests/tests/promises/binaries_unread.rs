//! `binaries` where nobody looks into the connection, `network.tcp` and `tls: passthrough`, and where a program asks a
//! proxy for it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use chiton_testkit::{Upstream, routes::Router};
use chiton_tests::{World, http_policy};

/// Prints what one request to `db.example.com:8080` came to. The server speaks HTTP, and nobody between reads it.
const PYTHON: &str = r#"
import http.client
try:
    c = http.client.HTTPConnection("db.example.com", 8080, timeout=20)
    c.request("GET", "/x"); print(c.getresponse().status, flush=True)
except OSError: print("cut", flush=True)
"#;
const ASK: &str = "-s -o /dev/null -w '%{http_code}\\n' http://db.example.com:8080/x";

fn policy(binaries: &str) -> String {
    let binaries = if binaries.is_empty() { String::new() } else { format!(", binaries: [{binaries}]") };
    format!(
        "static: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}}}\n\
         dynamic: {{network: {{tcp: [{{host: db.example.com, ports: [8080]{binaries}}}]}}}}\n"
    )
}

/// A world in which a server in the clear is `db.example.com:8080`.
fn world() -> (World, Upstream) {
    let mut world = World::echo(&["api.example.com"]);
    let server = Upstream::plain(Router::echo());
    world.chiton.resolve("db.example.com:8080", server.address());
    world.chiton.write_workspace("ask.py", PYTHON);
    (world, server)
}

#[test]
fn one_executable_may_connect_and_another_may_not() {
    let (world, server) = world();
    // What a program calls itself says nothing.
    let script = format!(
        "curl {ASK}; /usr/bin/python3 ask.py; cp /usr/bin/curl copy; ./copy {ASK}; ln -s /usr/bin/curl link; ./link {ASK}; \
         bash -c 'exec -a /usr/bin/curl /usr/bin/python3 ask.py'"
    );
    let out = world.sh(&policy("/usr/bin/curl"), &script).expect_success().stdout;
    assert_eq!(out, "200\ncut\n000\n200\ncut\n");
    assert_eq!(server.log().connections(), 2, "what is refused is not dialled");
    let events = world.chiton.audit(&[]);
    let connects = |decision: &str| -> Vec<_> {
        let is = |event: &&serde_json::Value| event["action"] == "connect" && event["decision"] == decision;
        events.iter().filter(is).cloned().collect()
    };
    let allowed = connects("allow");
    assert_eq!(allowed.len(), 2, "{events:#?}");
    assert!(allowed.iter().all(|event| event["binary"] == "/usr/bin/curl"), "{allowed:#?}");
    // A program may try both of a name's addresses.
    let denied = connects("deny");
    assert!(denied.iter().all(|event| event["reason"] == "binary_not_allowed"), "{denied:#?}");
    let by = |start: &str| {
        denied.iter().any(|event| event["binary"].as_str().is_some_and(|p| p.starts_with(start)))
    };
    assert!(by("/usr/bin/python3") && by("/workspace/copy") && !by("/usr/bin/curl"), "{denied:#?}");
}

#[test]
fn who_connected_counts_and_by_connect_alone() {
    let (world, server) = world();
    let script = r#"
import os, socket, sys
to = socket.getaddrinfo("db.example.com", 8080, socket.AF_INET, socket.SOCK_STREAM)[0][4]
REQUEST = b"GET /x HTTP/1.1\r\nHost: db\r\n\r\n"
PERL = """
open(my $s, '+<&=', $ARGV[0]) or die; syswrite($s, "GET /x HTTP/1.1\\r\\nHost: db\\r\\n\\r\\n");
print(sysread($s, my $answer, 4096) ? "passed\\n" : "cut\\n");
"""
s = socket.socket(); s.settimeout(20)
if sys.argv[1] == "fast":
    try:
        s.sendmsg([REQUEST], [], socket.MSG_FASTOPEN, to); print("passed" if s.recv(1) else "cut")
    except OSError: print("cut")
else:
    # It may be cut before this program has seen that it stood.
    try: s.connect(to)
    except ConnectionResetError: print("cut"); sys.exit()
    s.setblocking(True); s.set_inheritable(True)
    os.execv("/usr/bin/perl", ["perl", "-e", PERL, str(s.fileno())])
"#;
    world.chiton.write_workspace("other.py", script);
    // The program that is allowed did not connect, it was given the connection; and a connection that `connect` did
    // not make is nobody's.
    let run = |binaries: &str, how: &str| {
        let out = world.sh(&policy(binaries), &format!("/usr/bin/python3 other.py {how}"));
        out.expect_success().stdout
    };
    assert_eq!(run("/usr/bin/perl", "hand"), "cut\n");
    assert_eq!(run("/usr/bin/python3", "fast"), "cut\n");
    assert_eq!(server.log().connections(), 0);
}

#[test]
fn tls_that_is_passed_through_is_for_one_executable() {
    let world = World::echo(&["api.example.com"]);
    world.chiton.write_workspace("server-ca.pem", world.ca.pem());
    let python = r#"
import socket, ssl
context = ssl.create_default_context(cafile="/workspace/server-ca.pem")
try:
    s = context.wrap_socket(socket.create_connection(("api.example.com", 443), 20), server_hostname="api.example.com")
    print("passed")
except OSError: print("cut")
"#;
    world.chiton.write_workspace("tls.py", python);
    let rules = |binary: &str| {
        http_policy(&[&format!("{{host: api.example.com, tls: passthrough, binaries: [{binary}]}}")])
    };
    let script = "curl -s --cacert server-ca.pem -o /dev/null -w '%{http_code}\\n' https://api.example.com/; \
                  /usr/bin/python3 tls.py";
    assert_eq!(world.sh(&rules("/usr/bin/curl"), script).expect_success().stdout, "200\ncut\n");
    let denied = world.chiton.audit(&["--decision", "deny"]);
    let other =
        |event: &serde_json::Value| event["reason"] == "binary_not_allowed" && event["rule"] == "http[0]";
    assert!(!denied.is_empty() && denied.iter().all(other), "{denied:#?}");
    assert_eq!(world.sh(&rules("/usr/bin/python3"), script).expect_success().stdout, "000\npassed\n");
}

/// A tunnel is of whoever connected to the proxy: inspected, or carried as it is.
#[test]
fn a_tunnel_through_a_proxy_is_its_owners() {
    let (world, server) = world();
    let python = r#"
import http.client, ssl
def ask(connection, host, port):
    try:
        connection.set_tunnel(host, port); connection.request("GET", "/x"); print(connection.getresponse().status, flush=True)
    except OSError: print("cut", flush=True)
class Tls(http.client.HTTPConnection):
    def connect(self):
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname="api.example.com")
ask(Tls("proxy.chiton.internal", 3128, timeout=20), "api.example.com", 443)
ask(http.client.HTTPConnection("proxy.chiton.internal", 3128, timeout=20), "db.example.com", 8080)
"#;
    world.chiton.write_workspace("tunnel.py", python);
    let proxy = "-x http://proxy.chiton.internal:3128";
    let script = format!(
        "for v in --http1.1 --http2; do curl {proxy} $v -s -o /dev/null -w '%{{http_code}}\\n' https://api.example.com/x; done; \
         curl -p {proxy} {ASK}; /usr/bin/python3 tunnel.py"
    );
    let rules = |binary: &str| {
        policy(binary).replace(
            "{network: {",
            &format!("{{network: {{http: [{{host: api.example.com, binaries: [{binary}]}}], "),
        )
    };
    let out = world.sh(&rules("/usr/bin/curl"), &script).expect_success().stdout;
    assert_eq!(out, "200\n200\n200\n403\ncut\n");
    let denied = world.chiton.audit(&["--decision", "deny"]);
    assert_eq!(denied.len(), 2, "{denied:#?}");
    let python = |event: &serde_json::Value| {
        event["reason"] == "binary_not_allowed"
            && event["binary"].as_str().is_some_and(|path| path.starts_with("/usr/bin/python3"))
    };
    assert!(denied.iter().all(python), "{denied:#?}");
    let out = world.sh(&rules("/usr/bin/python3"), &script).expect_success().stdout;
    assert_eq!(out, "403\n403\n000\n200\n200\n");
    assert_eq!((world.upstream.requests().len(), server.log().connections()), (3, 2));
}

fn wait_for(world: &World, file: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !world.chiton.workspace().join(file).exists() {
        assert!(Instant::now() < deadline, "{file}: {:?}", world.chiton.run(&["logs", "narrow"]));
        thread::sleep(Duration::from_millis(10));
    }
}

/// A download by curl that runs under the first policy, and whether each of the next ones cuts it.
fn cut_by(first: &str, then: &str) -> bool {
    let (world, _server) = world();
    let script = "curl -sSN 'http://db.example.com:8080/drip?n=100000&ms=20' -o part & \
         until test -s part; do sleep 0.02; done; touch begun; \
         wait $!; echo $? > ended";
    let file = world.chiton.policy(&policy(first));
    let arguments =
        ["run", "-d", "-n", "narrow", "-p", file.to_str().expect("a path"), "--", "sh", "-c", script];
    let _ = world.chiton.run(&arguments).expect_success();
    wait_for(&world, "begun");
    let file = world.chiton.policy(&policy(then));
    let applied = world.chiton.run(&["policy", "apply", "narrow", file.to_str().expect("a path")]);
    let _ = applied.expect_success();
    let is_cut = |event: &serde_json::Value| event["action"] == "cut";
    let cut = world.chiton.audit(&[]).into_iter().find(is_cut);
    if let Some(cut) = &cut {
        assert_eq!(cut["reason"], "binary_not_allowed", "{cut}");
        assert_eq!(cut["binary"].as_str(), (!first.is_empty()).then_some("/usr/bin/curl"), "{cut}");
        wait_for(&world, "ended");
        let ended = fs::read_to_string(world.chiton.workspace().join("ended")).expect("it");
        assert_ne!(ended.trim(), "0", "curl noticed");
    }
    let _ = world.chiton.run(&["rm", "-f", "narrow"]).expect_success();
    cut.is_some()
}

#[test]
fn a_new_revision_keeps_the_tunnels_of_its_executables_only() {
    assert!(!cut_by("/usr/bin/curl", "/usr/bin/curl, /usr/bin/python3"));
    assert!(cut_by("/usr/bin/curl", "/usr/bin/python3"));
    // Whose it is was nobody's question when it began.
    assert!(cut_by("", "/usr/bin/curl"));
}
