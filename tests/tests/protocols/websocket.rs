//! WebSockets: Python's `websockets`, Node's own client and Python's `h2`, to a server of Python's `websockets`.
//!
//! Python's are those of `asyncio`. The library's client with threads (15.0.1) reads and writes one TLS connection in
//! two threads at once, which OpenSSL forbids: on a busy machine one of a hundred opens never ends, and one of a hundred
//! closes, also with nothing between client and server.

use std::{
    thread,
    time::{Duration, Instant},
};

use chiton_testkit::{Program, TestCa};
use chiton_tests::{As, Chiton, http_policy, packages};

const SERVER: &str = r#"
import asyncio, ssl
from websockets.exceptions import ConnectionClosed
from websockets.asyncio.server import serve
async def echo(ws):
    print("opened", ws.request.path, bool(ws.protocol.extensions))
    try:
        async for message in ws: await ws.send(message)
    except ConnectionClosed: pass
    finally:
        print("closed", ws.close_code)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
async def main():
    async with serve(echo, "127.0.0.1", 0, ssl=context, max_size=None) as server:
        print(server.sockets[0].getsockname()[1])
        await server.serve_forever()
asyncio.run(main())
"#;

struct Live {
    chiton: Chiton,
    server: Program,
}

fn live() -> Live {
    serving(SERVER)
}

fn serving(script: &str) -> Live {
    let ca = TestCa::new();
    let server = Program::python(script, &packages("python"), &ca, &["ws.example.com"]);
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("ws.example.com:443", server.address());
    Live { chiton, server }
}

impl Live {
    fn run(&self, verb: &[&str], policy: &str, program: &[&str]) -> chiton_tests::Outcome {
        let python = packages("python").display().to_string();
        let policy = self.chiton.policy(policy);
        let variable = format!("PYTHONPATH={python}");
        let mut arguments = verb.to_vec();
        arguments.extend(["-p", policy.to_str().expect("a path"), "-r", &python, "-e", &variable, "--"]);
        arguments.extend(program);
        self.chiton.run(&arguments).expect_success()
    }
}

const OPEN: &[&str] = &["{host: ws.example.com, websocket: true, paths: [/live]}"];
const SHUT: &[&str] = &["{host: ws.example.com, paths: [/live]}"];

/// Says with what it is refused.
const REFUSED: &str = r#"
import asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
async def main():
    try: await connect("wss://ws.example.com/live")
    except InvalidStatus as e: print(e.response.status_code, e.response.headers["x-chiton-denied"])
asyncio.run(main())
"#;

#[test]
fn python_speaks_and_is_refused() {
    let live = live();
    let script = r#"
import asyncio, os
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
async def main():
    async with connect("wss://ws.example.com/live", max_size=None) as ws:
        for message in ["hello", b"\0" * 100000, os.urandom(300000), "\u00e9" * 70000]:
            await ws.send(message); assert await ws.recv() == message
        await ws.send(["in ", "three ", "parts"]); print(await ws.recv(), bool(ws.protocol.extensions))
        await asyncio.wait_for(await ws.ping(), 10)
    print(ws.close_code)
    try: await connect("wss://ws.example.com/other")
    except InvalidStatus as e: print(e.response.status_code, e.response.headers["x-chiton-denied"])
asyncio.run(main())
"#;
    live.chiton.write_workspace("task.py", script);
    let outcome = live.run(&["run", "--rm"], &http_policy(OPEN), &["/usr/bin/python3", "task.py"]);
    assert_eq!(outcome.stdout, "in three parts True\n1000\n403 path_not_allowed\n", "{outcome:?}");
    assert_eq!(live.server.said_once("closed"), "opened /live True\nclosed 1000\n");
    let events = live.chiton.audit(&[]);
    let ended = events.iter().find(|e| e["action"] == "response").expect("a completion");
    assert_eq!(ended["response"]["status"], 101, "{ended}");
    assert!(
        ended["response"]["duration_us"].as_u64() > Some(0)
            && ended["response"]["bytes"].as_u64() > Some(1000)
    );
    // Where the rule does not open WebSockets the same GET opens none.
    live.chiton.write_workspace("task.py", REFUSED);
    let outcome = live.run(&["run", "--rm"], &http_policy(SHUT), &["/usr/bin/python3", "task.py"]);
    assert_eq!(outcome.stdout, "403 scheme_not_allowed\n", "{outcome:?}");
    assert_eq!(live.server.said().matches("opened").count(), 1);
}

#[test]
fn nodes_own_client() {
    let live = live();
    let script = r#"
const ws = new WebSocket("wss://ws.example.com/live");
ws.onopen = () => ws.send("from node");
ws.onmessage = (event) => { console.log(event.data); ws.close(1000); };
ws.onclose = (event) => console.log(event.code);
ws.onerror = (event) => console.log("error", event.message);
"#;
    live.chiton.write_workspace("task.mjs", script);
    let node = ["node", "--experimental-websocket", "task.mjs"];
    let outcome = live.run(&["run", "--rm"], &http_policy(OPEN), &node);
    assert_eq!(outcome.stdout, "from node\n1000\n", "{outcome:?}");
}

#[test]
fn over_http2_by_extended_connect() {
    let live = live();
    let script = r#"
import socket, ssl
import h2.connection, h2.events, h2.settings
context = ssl.create_default_context(); context.set_alpn_protocols(["h2"])
s = context.wrap_socket(socket.create_connection(("ws.example.com", 443)), server_hostname="ws.example.com")
assert s.selected_alpn_protocol() == "h2"
c = h2.connection.H2Connection(); c.initiate_connection(); s.sendall(c.data_to_send())
def events():
    found = c.receive_data(s.recv(65536)); s.sendall(c.data_to_send()); return found
while not any(isinstance(e, h2.events.RemoteSettingsChanged) for e in events()): pass
assert c.remote_settings.enable_connect_protocol == 1
def ask(stream, path):
    c.send_headers(stream, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path),
        (":authority", "ws.example.com"), ("sec-websocket-version", "13")]); s.sendall(c.data_to_send())
    while True:
        for e in events():
            if isinstance(e, h2.events.ResponseReceived) and e.stream_id == stream: return dict(e.headers)
refused = ask(1, "/other")
print(refused[b":status"].decode(), refused[b"x-chiton-denied"].decode())
print(ask(3, "/live")[b":status"].decode())
mask = bytes([1, 2, 3, 4])
def frame(first, payload): return bytes([first, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
c.send_data(3, frame(0x81, b"over http2")); s.sendall(c.data_to_send())
got, ended = b"", False
while not ended:
    for e in events():
        if isinstance(e, h2.events.DataReceived) and e.stream_id == 3:
            got += e.data
            if got.endswith(b"http2"): c.send_data(3, frame(0x88, b"\x03\xe8")); s.sendall(c.data_to_send())
        ended |= isinstance(e, h2.events.StreamEnded) and e.stream_id == 3
print(got)
"#;
    live.chiton.write_workspace("task.py", script);
    let outcome = live.run(&["run", "--rm"], &http_policy(OPEN), &["/usr/bin/python3", "task.py"]);
    assert_eq!(
        outcome.stdout, "403 path_not_allowed\n200\nb'\\x81\\nover http2\\x88\\x02\\x03\\xe8'\n",
        "{outcome:?}"
    );
    assert!(live.server.said_once("closed 1000").contains("opened /live False"));
}

#[test]
fn a_new_revision_closes_it_with_1008() {
    let live = live();
    let script = r#"
import asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
async def main():
    async with connect("wss://ws.example.com/live") as ws:
        try:
            while True:
                await ws.send("tick"); assert await ws.recv() == "tick"
                open("begun", "w").close(); await asyncio.sleep(0.005)
        except ConnectionClosed as e: print(e.rcvd.code)
asyncio.run(main())
"#;
    live.chiton.write_workspace("task.py", script);
    let _ = live.run(&["run", "-d", "-n", "live"], &http_policy(OPEN), &["/usr/bin/python3", "task.py"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !live.chiton.workspace().join("begun").exists() {
        assert!(Instant::now() < deadline, "{:?}", live.chiton.run(&["logs", "live"]));
        thread::sleep(Duration::from_millis(10));
    }
    let policy = live.chiton.policy(&http_policy(SHUT));
    let apply = ["policy", "apply", "live", policy.to_str().expect("a path")];
    let _ = live.chiton.run(&apply).expect_success();
    assert!(live.server.said_once("closed").contains("closed 1008"), "{}", live.server.said());
    let _ = live.chiton.run(&["wait", "live"]);
    assert_eq!(live.chiton.run(&["logs", "live"]).expect_success().stdout, "1008\n");
}

/// Tells whoever comes what it was sent, in one message and in pieces, as it is and in base64.
const TELLS: &str = r#"
    got = ws.request.headers.get("Authorization", "nothing")
    print("got", got)
    await ws.send(got); await ws.send(base64.b64encode(got.encode())); await ws.send([got[:15], got[15:20], got[20:]])
    await ws.ping(got[-30:].encode())
"#;

#[test]
fn a_rules_credential_opens_it_and_is_in_no_message() {
    const KEY: &str = "sk-socket-77d0a1c4e9b25f38";
    let server = SERVER.replace("ssl\n", "base64, ssl\n");
    let told = format!("{TELLS}    try:\n        async for");
    let live = serving(&server.replace("    try:\n        async for", &told));
    let _ = live.chiton.run_with(&["secret", "set", "key", "--host", "ws.example.com"], KEY).expect_success();
    let script = r#"
import asyncio, base64
from websockets.asyncio.client import connect
secret = ("sk-socket-" + "77d0a1c4e9b25f38").encode()
def forms(value): return [value] + [base64.b64encode(b"x" * pad + value)[4 if pad else 0:-4] for pad in range(3)]
async def ask(path):
    async with connect("wss://ws.example.com/" + path, additional_headers={"Authorization": "Bearer mine"}) as ws:
        said = [await ws.recv() for _ in range(3)]
        said = [m if isinstance(m, bytes) else m.encode() for m in said]
        leaks = [f for f in forms(secret) + forms(base64.b64encode(b"me:" + secret)) for m in said if f in m]
        await ws.send("and on")
        print(path, leaks, sum(b"[redacted]" in m for m in said), bool(ws.protocol.extensions), await ws.recv())
async def main():
    for path in ("bearer", "basic", "without"): await ask(path)
asyncio.run(main())
"#;
    live.chiton.write_workspace("task.py", script);
    let policy = http_policy(&[
        "{host: ws.example.com, websocket: true, paths: [/bearer], credential: 'local://key'}",
        "{host: ws.example.com, websocket: true, paths: [/basic], credential: {secret: 'local://key', basic: {user: me}}}",
        "{host: ws.example.com, websocket: true, paths: [/without]}",
    ]);
    let outcome = live.run(&["run", "--rm"], &policy, &["/usr/bin/python3", "task.py"]);
    let wanted = "bearer [] 3 False and on\nbasic [] 3 False and on\nwithout [] 0 False and on\n";
    assert_eq!(outcome.stdout, wanted, "{outcome:?}");
    let said = live.server.said_once("/without");
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("me:{KEY}"));
    assert!(
        said.contains(&format!("got Bearer {KEY}\n")) && said.contains(&format!("got Basic {basic}\n")),
        "{said}"
    );
}
