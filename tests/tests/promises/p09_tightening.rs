//! When `policy apply` returns, nothing passes that the new revision refuses.

use std::{
    thread,
    time::{Duration, Instant},
};

use chiton_tests::{World, http_policy};

const OPEN: &[&str] = &["{host: api.example.com}"];
const SHUT: &[&str] = &["{host: api.example.com, paths: [/only/this]}"];

fn started(script: &str) -> World {
    let world = World::echo(&["api.example.com"]);
    let policy = world.chiton.policy(&http_policy(OPEN));
    let policy = policy.to_str().expect("a path");
    let _ = world
        .chiton
        .run(&["run", "-d", "-n", "tight", "-p", policy, "--", "sh", "-c", script])
        .expect_success();
    world
}

fn apply(world: &World, rules: &[&str]) {
    let policy = world.chiton.policy(&http_policy(rules));
    let _ =
        world.chiton.run(&["policy", "apply", "tight", policy.to_str().expect("a path")]).expect_success();
}

fn wait_for(world: &World, file: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !world.chiton.workspace().join(file).exists() {
        assert!(
            Instant::now() < deadline,
            "{file} did not appear: {:?}",
            world.chiton.run(&["logs", "tight"])
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn running_download_is_cut(version: &str) {
    let script = format!(
        "curl -sSN {version} 'https://api.example.com/drip?n=100000&ms=20' -o part & \
         until test -s part; do sleep 0.02; done; touch begun; wait $!; echo $? > ended"
    );
    let world = started(&script);
    wait_for(&world, "begun");
    apply(&world, SHUT);
    wait_for(&world, "ended");
    let ended = std::fs::read_to_string(world.chiton.workspace().join("ended")).expect("it");
    assert_ne!(ended.trim(), "0", "the download was cut, and curl noticed");
    let _ = world.chiton.run(&["rm", "-f", "tight"]).expect_success();
}

#[test]
fn a_running_download_is_cut_over_http1() {
    running_download_is_cut("--http1.1");
}

#[test]
fn a_running_download_is_cut_over_http2() {
    running_download_is_cut("--http2");
}

#[test]
fn an_old_connection_is_judged_by_the_new_revision() {
    let script = r#"
import http.client, os, time
c = http.client.HTTPSConnection("api.example.com")
def get(path):
    c.request("GET", path); r = c.getresponse(); r.read(); return r.status
first = get("/a"); port = c.sock.getsockname()
open("begun", "w").close()
while not os.path.exists("go"): time.sleep(0.02)
try: second = get("/a")
except Exception as e: second = 403; c.close()
print(first, second)
open("ended", "w").close()
"#;
    let world = World::echo(&["api.example.com"]);
    world.chiton.write_workspace("keep.py", script);
    let policy = world.chiton.policy(&http_policy(OPEN));
    let policy = policy.to_str().expect("a path");
    let arguments = ["run", "-d", "-n", "tight", "-p", policy, "--", "/usr/bin/python3", "keep.py"];
    let _ = world.chiton.run(&arguments).expect_success();
    wait_for(&world, "begun");
    apply(&world, SHUT);
    world.chiton.write_workspace("go", "");
    let _ = world.chiton.run(&["wait", "tight"]).expect_success();
    assert_eq!(world.chiton.run(&["logs", "tight"]).expect_success().stdout, "200 403\n");
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn loosening_works_without_a_restart() {
    let world = started("sleep 600");
    apply(&world, SHUT);
    let ask = || {
        let url = "https://api.example.com/x";
        world
            .chiton
            .run(&["exec", "tight", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url])
            .stdout
    };
    assert_eq!(ask(), "403");
    apply(&world, OPEN);
    assert_eq!(ask(), "200");
    let _ = world.chiton.run(&["rm", "-f", "tight"]).expect_success();
}

#[test]
fn what_waits_for_an_agent_that_does_not_read_is_thrown_away() {
    // The agent takes a little, waits for the new revision, and then asks its own kernel for the rest.
    let script = r#"
import os, socket, ssl, time
raw = socket.create_connection(("api.example.com", 443))
raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
s = ssl.create_default_context().wrap_socket(raw, server_hostname="api.example.com")
s.sendall(b"GET /bytes?n=100000000 HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
s.recv(1); time.sleep(0.5); open("begun", "w").close()
while not os.path.exists("go"): time.sleep(0.02)
got = 0
try:
    while part := s.recv(65536): got += len(part)
except OSError: pass
print(got < 1 << 20)
"#;
    let world = World::echo(&["api.example.com"]);
    world.chiton.write_workspace("held.py", script);
    let policy = world.chiton.policy(&http_policy(OPEN));
    let policy = policy.to_str().expect("a path");
    let arguments = ["run", "-d", "-n", "tight", "-p", policy, "--", "/usr/bin/python3", "held.py"];
    let _ = world.chiton.run(&arguments).expect_success();
    wait_for(&world, "begun");
    apply(&world, SHUT);
    world.chiton.write_workspace("go", "");
    let _ = world.chiton.run(&["wait", "tight"]).expect_success();
    assert_eq!(world.chiton.run(&["logs", "tight"]).expect_success().stdout, "True\n");
}
