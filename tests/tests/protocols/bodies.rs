//! Bodies as real clients send and take them: very large ones in constant memory, HTTP/1.0, `100-continue`, trailers.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use chiton_testkit::{RawUpstream, TestCa, raw::Script, routes::Router};
use chiton_tests::{As, Chiton, World, http_policy, roles};

const OPEN: &[&str] = &["{host: api.example.com, methods: ['*']}"];

/// The largest proportional set size, in KiB, that a process of this installation had while `run` ran.
fn most_memory(world: &World, run: impl FnOnce()) -> u64 {
    let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        let (seen, ended) = (most.clone(), over.clone());
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for process in roles(world, "chiton proxy") {
                    seen.fetch_max(pss(process), Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        run();
        over.store(true, Ordering::Relaxed);
    });
    most.load(Ordering::Relaxed)
}

fn pss(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A gibibyte each way; benches/ has ten.
#[test]
fn large_bodies_take_no_memory() {
    let world = World::new(As::Root, &["api.example.com"], Router::echo());
    for version in ["--http1.1", "--http2"] {
        let script = format!(
            "set -e; curl -sS {version} 'https://api.example.com/bytes?n=1073741824' | wc -c; \
             head -c 1073741824 /dev/zero | curl -sS {version} -T - https://api.example.com/upload"
        );
        let most = most_memory(&world, || {
            let outcome = world.sh(&http_policy(OPEN), &script).expect_success();
            assert_eq!(outcome.stdout, "1073741824\n{\"length\":1073741824}", "{outcome:?}");
        });
        assert!(most > 0, "the proxy was not found");
        assert!(most < 64 << 10, "{version}: {most} KiB");
    }
}

#[test]
fn http_1_0_clients() {
    let world = World::echo(&["api.example.com"]);
    let script = "curl -sS -0 -o /dev/null -w '%{http_code} %{size_download}\\n' 'https://api.example.com/chunked?n=3'; \
                  curl -sS -0 -d hello https://api.example.com/upload; echo; \
                  curl -sS -0 -H 'connection: keep-alive' -o /dev/null -o /dev/null -w '%{num_connects}' \
                    'https://api.example.com/bytes?n=1' 'https://api.example.com/bytes?n=2'";
    let outcome = world.sh(&http_policy(OPEN), script).expect_success();
    assert_eq!(outcome.stdout, "200 3072\n{\"length\":5}\n10", "{outcome:?}");
}

#[test]
fn a_server_of_http_1_0() {
    let ca = TestCa::new();
    let answer = b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end";
    let server = RawUpstream::tls(&ca, &["api.example.com"], Script::Send(answer.to_vec()));
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", server.address());
    let policy = chiton.policy(&http_policy(OPEN));
    for version in ["--http1.1", "--http2"] {
        let outcome = chiton.sandboxed(&policy, &["curl", "-sS", version, "https://api.example.com/"]);
        assert_eq!(outcome.stdout, "until the end", "{outcome:?}");
    }
}

#[test]
fn an_agent_that_waits_for_100_continue() {
    let world = World::echo(&["api.example.com"]);
    let policy = http_policy(&["{host: api.example.com, methods: [POST], paths: [/upload]}"]);
    // curl waits for a minute where it is not told to go on; refused, it sends nothing at all.
    let ask = |path: &str| {
        format!(
            "head -c 3000000 /dev/zero | curl -sS --http1.1 -H 'expect: 100-continue' --expect100-timeout 60 --max-time 20 \
             --data-binary @- -o /dev/null -w '%{{http_code}} %{{size_upload}}\\n' https://api.example.com{path}; "
        )
    };
    let outcome = world.sh(&policy, &(ask("/upload") + &ask("/other"))).expect_success();
    assert_eq!(outcome.stdout, "200 3000000\n403 0\n", "{outcome:?}");
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn a_server_that_says_100_continue_and_early_hints() {
    let ca = TestCa::new();
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let server = RawUpstream::tls(&ca, &["api.example.com"], Script::Send(answer.to_vec()));
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", server.address());
    let policy = chiton.policy(&http_policy(OPEN));
    // No body by HTTP/2: this server answers before it has read one, and curl 7.88 ends with 92 where it has not sent its
    // body yet when the answer is whole.
    for options in [&["--http1.1", "-d", "x"][..], &["--http2"]] {
        let curl = [&["curl", "-sS"], options, &["https://api.example.com/"]].concat();
        let outcome = chiton.sandboxed(&policy, &curl);
        assert_eq!(outcome.stdout, "ok", "{outcome:?}");
    }
}

#[test]
fn trailers_reach_node() {
    let ca = TestCa::new();
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n";
    let server = RawUpstream::tls(&ca, &["api.example.com"], Script::Send(answer.to_vec()));
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("api.example.com:443", server.address());
    let script = r#"
const https = require("https");
https.get("https://api.example.com/", (answer) => {
  answer.resume(); answer.on("end", () => console.log(answer.trailers["x-sum"]));
});
"#;
    chiton.write_workspace("task.js", script);
    let outcome = chiton.sandboxed(&chiton.policy(&http_policy(OPEN)), &["node", "task.js"]);
    assert_eq!(outcome.stdout, "42\n", "{outcome:?}");
}

#[test]
fn chunked_uploads_of_node_and_python() {
    let world = World::echo(&["api.example.com"]);
    let node = r#"
const { Readable } = require("stream");
(async () => {
  const parts = async function* () { for (let n = 0; n < 1000; n++) yield Buffer.alloc(1000); };
  const answer = await fetch("https://api.example.com/upload", { method: "POST", body: Readable.from(parts()), duplex: "half" });
  console.log(await answer.text());
})();
"#;
    let python = "import requests; print(requests.post('https://api.example.com/upload', data=(b'x' * 1000 for _ in range(1000))).text)";
    world.chiton.write_workspace("task.js", node);
    world.chiton.write_workspace("task.py", python);
    let outcome = world.sh(&http_policy(OPEN), "node task.js; /usr/bin/python3 task.py").expect_success();
    assert_eq!(outcome.stdout, "{\"length\":1000000}\n{\"length\":1000000}\n", "{outcome:?}");
}
