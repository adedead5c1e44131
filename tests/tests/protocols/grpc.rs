//! gRPC by `grpcio`, the C core, on both ends: every kind of call, trailers, deadlines, cancels, and a refusal.

use chiton_testkit::{Program, TestCa};
use chiton_tests::{As, Chiton, Outcome, http_policy, packages};

const SERVER: &str = r#"
import time
from concurrent import futures
import grpc
def unary(request, context):
    print("metadata", dict(context.invocation_metadata()).get("x-caller"))
    context.send_initial_metadata([("x-begin", "1")])
    context.set_trailing_metadata([("x-end", "2"), ("x-blob-bin", b"\x00\xff")])
    return b"echo:" + request
def whoami(request, context):
    got = dict(context.invocation_metadata())
    print("caller", got.get("x-own"), got.get("grpc-accept-encoding"))
    context.set_trailing_metadata([("x-said", got.get("x-own", "nobody"))])
    if request == b"tell": return got.get("x-own", "nobody").encode()
    if request == b"pack": context.set_compression(grpc.Compression.Gzip)
    return b"you" * 200
def fails(request, context): context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00fc")
def slow(request, context):
    print("remaining", 0 < context.time_remaining() < 3)
    context.add_callback(lambda: print("ended"))
    while context.is_active(): time.sleep(0.01)
    return b""
def counts(request, context):
    context.add_callback(lambda: print("counted to its end", not context.is_active()))
    for n in range(int(request)):
        yield str(n).encode()
        time.sleep(0.2)
def endless(request, context):
    context.add_callback(lambda: print("stopped"))
    while context.is_active():
        yield b"x"; time.sleep(0.01)
def collects(requests, context): return b",".join(requests)
def talks(requests, context):
    yield b"first"
    for request in requests: yield b"re:" + request
class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        name = call.method.split("/")[-1]
        kinds = {"Unary": (grpc.unary_unary_rpc_method_handler, unary), "Fails": (grpc.unary_unary_rpc_method_handler, fails), "Whoami": (grpc.unary_unary_rpc_method_handler, whoami),
            "Slow": (grpc.unary_unary_rpc_method_handler, slow), "Counts": (grpc.unary_stream_rpc_method_handler, counts),
            "Endless": (grpc.unary_stream_rpc_method_handler, endless), "Collects": (grpc.stream_unary_rpc_method_handler, collects),
            "Talks": (grpc.stream_stream_rpc_method_handler, talks)}
        if name not in kinds: return None
        make, behaviour = kinds[name]
        return make(behaviour)
server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[Handler()], options=[("grpc.max_receive_message_length", -1)])
credentials = grpc.ssl_server_credentials([(open("key.pem", "rb").read(), open("cert.pem", "rb").read())])
port = server.add_secure_port("127.0.0.1:0", credentials)
server.start(); print(port); server.wait_for_termination()
"#;

const CLIENT: &str = r#"
import os, queue, threading, time
import grpc
roots = open(os.environ["SSL_CERT_FILE"], "rb").read()
channel = grpc.secure_channel("grpc.example.com:443", grpc.ssl_channel_credentials(roots), options=[("grpc.max_receive_message_length", -1)])
same = dict(request_serializer=None, response_deserializer=None)
def method(kind, name): return getattr(channel, kind)("/test.Test/" + name, **same)
"#;

struct Service {
    chiton: Chiton,
    server: Program,
}

fn service() -> Service {
    let ca = TestCa::new();
    let server = Program::python(SERVER, &packages("python"), &ca, &["grpc.example.com"]);
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("grpc.example.com:443", server.address());
    Service { chiton, server }
}

impl Service {
    fn start(&self, verb: &[&str], script: &str) -> Outcome {
        self.start_under(&http_policy(OPEN), verb, script)
    }

    fn start_under(&self, policy: &str, verb: &[&str], script: &str) -> Outcome {
        let python = packages("python").display().to_string();
        let policy = self.chiton.policy(policy);
        let variable = format!("PYTHONPATH={python}");
        self.chiton.write_workspace("task.py", format!("{CLIENT}{script}"));
        let mut arguments = verb.to_vec();
        let policy = policy.to_str().expect("a path");
        arguments.extend(["-p", policy, "-r", &python, "-e", &variable, "--", "/usr/bin/python3", "task.py"]);
        self.chiton.run(&arguments).expect_success()
    }

    fn run(&self, script: &str) -> String {
        self.start(&["run", "--rm"], script).stdout
    }
}

const OPEN: &[&str] = &[
    "{host: grpc.example.com, methods: [POST], paths: [/test.Test/*], deny: [{paths: [/test.Test/Denied]}]}",
];

#[test]
fn unary_calls_with_metadata_trailers_and_large_messages() {
    let service = service();
    let out = service.run(
        r#"
answer, call = method("unary_unary", "Unary").with_call(b"hello", metadata=[("x-caller", "me")])
trailing = dict(call.trailing_metadata())
print(answer, dict(call.initial_metadata())["x-begin"], trailing["x-end"], trailing["x-blob-bin"], call.code())
big = os.urandom(3 << 20)
assert method("unary_unary", "Unary")(big) == b"echo:" + big
try: method("unary_unary", "Fails")(b"")
except grpc.RpcError as e: print(e.code(), e.details())
try: method("unary_unary", "Missing")(b"")
except grpc.RpcError as e: print(e.code())
"#,
    );
    assert_eq!(
        out,
        "b'echo:hello' 1 2 b'\\x00\\xff' StatusCode.OK\nStatusCode.NOT_FOUND no such thing: ü\nStatusCode.UNIMPLEMENTED\n"
    );
    assert!(service.server.said_once("metadata").contains("metadata me"));
}

#[test]
fn a_refusal_as_grpc_sees_it() {
    let service = service();
    let out = service.run(
        r#"
try: method("unary_unary", "Denied")(b"")
except grpc.RpcError as e: print(e.code(), e.details(), dict(e.trailing_metadata() or ()).get("x-chiton-denied"))
# The channel goes on.
print(method("unary_unary", "Unary")(b"after"))
"#,
    );
    assert_eq!(
        out,
        "StatusCode.PERMISSION_DENIED denied_by_rule: POST /test.Test/Denied is not allowed for grpc.example.com: a deny of rule \"http[0]\" matches denied_by_rule\nb'echo:after'\n"
    );
}

#[test]
fn streams_flow_both_ways_without_waiting() {
    let service = service();
    let out = service.run(
        r#"
begun = time.monotonic(); at = [time.monotonic() - begun for _ in method("unary_stream", "Counts")(b"4")]
print(len(at), at[-1] - at[0] > 0.3)
print(method("stream_unary", "Collects")(iter([b"a", b"b", b"c"])))
# The answer begins before the request does, and each goes on by the other.
asks = queue.Queue()
talk = method("stream_stream", "Talks")(iter(asks.get, None))
print(next(talk))
for word in [b"one", b"two", os.urandom(1 << 20)]:
    asks.put(word); assert next(talk) == b"re:" + word
asks.put(None)
print(list(talk), talk.code())
"#,
    );
    assert_eq!(out, "4 True\nb'a,b,c'\nb'first'\n[] StatusCode.OK\n");
}

#[test]
fn deadlines_and_cancels_reach_the_server() {
    let service = service();
    let out = service.run(
        r#"
try: method("unary_unary", "Slow")(b"", timeout=0.7)
except grpc.RpcError as e: print(e.code())
stream = method("unary_stream", "Endless")(b"")
next(stream); stream.cancel()
try:
    for _ in stream: pass
except grpc.RpcError as e: print(e.code())
time.sleep(0.1)
"#,
    );
    assert_eq!(out, "StatusCode.DEADLINE_EXCEEDED\nStatusCode.CANCELLED\n");
    let _ = service.server.said_once("remaining True");
    let _ = service.server.said_once("ended");
    let _ = service.server.said_once("stopped");
}

#[test]
fn a_new_revision_cuts_a_stream() {
    let service = service();
    let _ = service.start(
        &["run", "-d", "-n", "grpc"],
        r#"
stream = method("unary_stream", "Endless")(b"")
try:
    for _ in stream: open("begun", "w").close()
except grpc.RpcError as e: print(e.code())
try: method("unary_unary", "Unary")(b"")
except grpc.RpcError as e: print(e.code())
"#,
    );
    let begun = service.chiton.workspace().join("begun");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !begun.exists() {
        assert!(std::time::Instant::now() < deadline, "{:?}", service.chiton.run(&["logs", "grpc"]));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let policy =
        service.chiton.policy(&http_policy(&["{host: grpc.example.com, methods: [POST], paths: [/other]}"]));
    let apply = ["policy", "apply", "grpc", policy.to_str().expect("a path")];
    let _ = service.chiton.run(&apply).expect_success();
    let _ = service.server.said_once("stopped");
    let _ = service.chiton.run(&["wait", "grpc"]);
    let logs = service.chiton.run(&["logs", "grpc"]).stdout;
    let codes: Vec<&str> = logs.lines().collect();
    assert!(
        matches!(
            codes[..],
            [
                "StatusCode.UNAVAILABLE" | "StatusCode.INTERNAL" | "StatusCode.CANCELLED",
                "StatusCode.PERMISSION_DENIED"
            ]
        ),
        "{logs}"
    );
}

/// Where no TLS can say that the server speaks HTTP/2, and nothing else.
#[test]
fn in_the_clear() {
    let server = SERVER
        .replace(r#"add_secure_port("127.0.0.1:0", credentials)"#, r#"add_insecure_port("127.0.0.1:0")"#);
    let ca = TestCa::new();
    let server = Program::python(&server, &packages("python"), &ca, &["grpc.example.com"]);
    let mut chiton = Chiton::new(As::User);
    chiton.trust(&ca).resolve("grpc.example.com:80", server.address());
    let policy =
        http_policy(&["{host: grpc.example.com, scheme: http, methods: [POST], paths: [/test.Test/*]}"]);
    let script = r#"
channel = grpc.insecure_channel("grpc.example.com:80")
answer, call = method("unary_unary", "Unary").with_call(b"hello", metadata=[("x-caller", "me")])
print(answer, dict(call.trailing_metadata())["x-end"], call.code())
talk = method("stream_stream", "Talks")(iter([b"one", b"two"]))
print(list(talk), talk.code())
"#;
    let out = Service { chiton, server }.start_under(&policy, &["run", "--rm"], script).stdout;
    assert_eq!(out, "b'echo:hello' 2 StatusCode.OK\n[b'first', b're:one', b're:two'] StatusCode.OK\n");
}

/// It goes in with the call's metadata and comes back neither in the trailers nor in a message; a message that the
/// server packs for itself, against what it was told to take, is refused.
#[test]
fn a_rules_credential_is_the_callers_and_does_not_come_back() {
    const KEY: &str = "sk-remote-19e4c7f0d2b85a63";
    let service = service();
    let arguments = ["secret", "set", "key", "--host", "grpc.example.com"];
    let _ = service.chiton.run_with(&arguments, KEY).expect_success();
    let policy = http_policy(&[
        "{host: grpc.example.com, methods: [POST], credential: {secret: 'local://key', header: x-own}}",
    ]);
    let script = r#"
def ask(what):
    try:
        answer, call = method("unary_unary", "Whoami").with_call(what, metadata=[("x-own", "mine"), ("authorization", "mine")])
        print(answer[:6], dict(call.trailing_metadata())["x-said"])
    except grpc.RpcError as e: print(e.code(), ("sk-remote-" + "19e4c7f0d2b85a63") in str(e))
ask(b""); ask(b"tell"); ask(b"pack")
"#;
    let out = service.start_under(&policy, &["run", "--rm"], script).stdout;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "b'youyou' [redacted]", "{out}");
    // The message is as long as it says that it is.
    assert_eq!(lines[1], "b'[redac' [redacted]", "{out}");
    assert!(!out.contains(KEY), "{out}");
    let packed = lines[2] == "b'youyou' [redacted]" || lines[2] == "StatusCode.UNAVAILABLE False";
    assert!(packed, "{out}");
    let said = service.server.said_once("caller");
    assert!(
        said.contains(&format!("caller {KEY} ")) && !said.contains("mine") && !said.contains("gzip"),
        "{said}"
    );
}
