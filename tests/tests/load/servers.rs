//! Servers that stall, reset, and lie about length: the agent never takes a part for the whole, and nothing is kept.

use std::time::Duration;

use chiton_testkit::{RawUpstream, TestCa, raw::Script};
use chiton_tests::{As, Chiton, http_policy};

use super::{Held, within};

struct Case {
    name: &'static str,
    script: fn(Vec<u8>) -> Script,
    bytes: &'static str,
    /// What curl ends with, by HTTP/1.1 and HTTP/2, and the status that it saw.
    expected: [(i32, u16); 2],
}

/// curl: a part of the body is missing; the stream was not closed in good order; too slow; broken chunks; reset.
const PARTIAL: i32 = 18;
const STREAM: i32 = 92;
const TIMEOUT: i32 = 28;
const RESET: i32 = 56;

fn stalling(bytes: Vec<u8>) -> Script {
    Script::SendThenStall(bytes)
}

fn endless(bytes: Vec<u8>) -> Script {
    Script::Send([bytes, vec![b'x'; 80 << 10]].concat())
}

const CASES: &[Case] = &[
    Case {
        name: "stalls-in-the-head",
        script: stalling,
        bytes: "HTTP/1.1 200 OK\r\nx: ",
        expected: [(TIMEOUT, 0), (TIMEOUT, 0)],
    },
    Case {
        name: "stalls-in-the-body",
        script: stalling,
        bytes: "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        expected: [(TIMEOUT, 200), (TIMEOUT, 200)],
    },
    Case {
        name: "stalls-in-a-chunk",
        script: stalling,
        bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        expected: [(TIMEOUT, 200), (TIMEOUT, 200)],
    },
    Case {
        name: "resets-in-the-head",
        script: Script::SendThenReset,
        bytes: "HTTP/1.1 200 OK\r\nx: ",
        expected: [(0, 502), (0, 502)],
    },
    Case {
        name: "resets-in-the-body",
        script: Script::SendThenReset,
        bytes: "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        expected: [(RESET, 200), (STREAM, 200)],
    },
    Case {
        name: "sends-less",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        expected: [(RESET, 200), (STREAM, 200)],
    },
    Case {
        name: "sends-more",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\n\r\n",
        expected: [(0, 200), (0, 200)],
    },
    Case {
        name: "says-two-lengths",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nhalf",
        expected: [(0, 502), (0, 502)],
    },
    Case {
        name: "a-chunk-is-longer",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhalf\r\n0\r\n\r\n",
        expected: [(RESET, 200), (STREAM, 200)],
    },
    Case {
        name: "a-chunk-is-shorter",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf\r\n0\r\n\r\n",
        expected: [(RESET, 200), (STREAM, 200)],
    },
    Case {
        name: "a-chunk-has-no-size",
        script: Script::Send,
        bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n",
        expected: [(RESET, 200), (STREAM, 200)],
    },
    Case {
        name: "never-ends-its-head",
        script: endless,
        bytes: "HTTP/1.1 200 OK\r\nx: ",
        expected: [(0, 502), (0, 502)],
    },
];

#[test]
fn servers_that_stall_reset_and_lie() {
    let ca = TestCa::new();
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca);
    let hosts: Vec<String> = CASES.iter().map(|case| format!("{}.example.com", case.name)).collect();
    let servers: Vec<RawUpstream> = CASES
        .iter()
        .zip(&hosts)
        .map(|(case, host)| {
            let server = RawUpstream::tls(&ca, &[host], (case.script)(case.bytes.into()));
            chiton.resolve(&format!("{host}:443"), server.address());
            server
        })
        .collect();
    let asked: String = hosts
        .iter()
        .flat_map(|host| {
            ["--http1.1", "--http2"].map(|version| {
                format!(
                    "(curl -s {version} -m 15 -o {host}{version}.body -w '%{{http_code}}' https://{host}/ > {host}{version}; echo \" $?\" >> {host}{version}) &\n"
                )
            })
        })
        .collect();
    let script = format!("sleep 1\n{asked} wait; touch done; sleep 600");
    let policy = http_policy(&["{host: '*.example.com'}"]);
    let held = Held::run(&chiton, "servers", &policy, &["sh", "-c", &script]);
    let (before, descriptors) = (held.memory(), held.descriptors());
    held.wait_for("done");
    let mut problems = Vec::new();
    for (case, host) in CASES.iter().zip(&hosts) {
        for (version, (ended, status)) in ["--http1.1", "--http2"].iter().zip(case.expected) {
            let told = std::fs::read_to_string(chiton.workspace().join(format!("{host}{version}")))
                .unwrap_or_default();
            // A cut body may end a connection in more than one way, but never in good order.
            let expected = if ended == RESET { vec![RESET, PARTIAL, STREAM] } else { vec![ended] };
            if !expected.iter().any(|ended| told.trim() == format!("{status:03} {ended}")) {
                problems.push(format!("{} {version}: {told:?}, not {status:03} and {expected:?}", case.name));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    // Whoever waited has left, and nothing of it is kept.
    let released = within(Duration::from_secs(10), || held.descriptors() <= descriptors + 8);
    assert!(released, "{descriptors} before, {} after", held.descriptors());
    assert!(held.memory() < before + (8 << 10), "{before} KiB before, {} KiB after", held.memory());
    drop(servers);
}
