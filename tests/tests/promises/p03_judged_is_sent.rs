//! Host, address, server name, method and path of the upstream request are the judged ones.

use chiton_tests::{World, http_policy};

/// Sends raw bytes over TLS to a name, and prints the status of what comes back.
const RAW: &str = r#"
import socket, ssl, sys
def send(name, data, server_name=None, port=443, alpn=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    if alpn: context.set_alpn_protocols(alpn)
    raw = socket.create_connection((name, port), timeout=15)
    try:
        with context.wrap_socket(raw, server_hostname=server_name or name) as s:
            s.sendall(data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = s.recv(65536)
                if not part: break
                answer += part
            return answer.split(b" ")[1].decode() if answer else "closed"
    except OSError as e: return "closed"
"#;

fn attack(rules: &[&str], script: &str) -> (World, String) {
    let world = World::echo(&["good.example", "other.example"]);
    world.chiton.write_workspace("attack.py", format!("{RAW}{script}"));
    let policy = world.chiton.policy(&http_policy(rules));
    let out = world.chiton.sandboxed(&policy, &["/usr/bin/python3", "attack.py"]).expect_success().stdout;
    (world, out)
}

const GOOD: &str = "{host: good.example, methods: [GET, POST], paths: [/ok/**]}";

#[test]
fn an_ambiguous_request_is_refused_and_nothing_of_it_is_sent() {
    let script = r#"
crlf = lambda *lines, body=b"": ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
host = "Host: good.example"
odd = {
    "two hosts": crlf("GET /ok/x HTTP/1.1", host, "Host: other.example"),
    "other host": crlf("GET /ok/x HTTP/1.1", "Host: other.example"),
    "no host": crlf("GET /ok/x HTTP/1.1"),
    "CL and TE": crlf("POST /ok/x HTTP/1.1", host, "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "TE and CL": crlf("POST /ok/x HTTP/1.1", host, "Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n"),
    "two CL": crlf("POST /ok/x HTTP/1.1", host, "Content-Length: 1", "Content-Length: 2", body=b"ab"),
    "chunked,": crlf("POST /ok/x HTTP/1.1", host, "Transfer-Encoding: chunked,", body=b"0\r\n\r\n"),
    "TE unknown": crlf("POST /ok/x HTTP/1.1", host, "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "1.0 and TE": crlf("POST /ok/x HTTP/1.0", host, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "bare LF": b"GET /ok/x HTTP/1.1\nHost: good.example\n\n",
    "space before colon": crlf("GET /ok/x HTTP/1.1", host, "Content-Length : 5", body=b"GET /"),
    "folded": crlf("GET /ok/x HTTP/1.1", host, "X-A: b", " c"),
    "dot dot": crlf("GET /ok/../admin HTTP/1.1", host), "encoded dots": crlf("GET /ok/%2e%2e/admin HTTP/1.1", host),
    "double slash": crlf("GET /ok//x HTTP/1.1", host), "encoded slash": crlf("GET /ok/a%2f..%2fb HTTP/1.1", host),
    "taken back": crlf("GET /ok/a%2Fb/../x HTTP/1.1", host), "taken back in escapes": crlf("GET /ok/%2e%2e%2f/../x HTTP/1.1", host),
    "backslash": crlf("GET /ok/..\\admin HTTP/1.1", host), "encoded NUL": crlf("GET /ok/%00 HTTP/1.1", host),
    "params": crlf("GET /ok/..;x=1/admin HTTP/1.1", host), "override": crlf("POST /ok/x HTTP/1.1", host, "X-HTTP-Method-Override: DELETE", "Content-Length: 0"),
    "absolute other": crlf("GET https://other.example/ok/x HTTP/1.1", host),
    "userinfo": crlf("GET https://good.example@other.example/ok/x HTTP/1.1", host),
    "bad escape": crlf("GET /ok/%zz HTTP/1.1", host),
    "big header": crlf("GET /ok/x HTTP/1.1", host, "X-Big: " + "x" * (16 << 20)),
    "many headers": crlf("GET /ok/x HTTP/1.1", host, *[f"X-{n}: y" for n in range(200000)]),
    "connect": crlf("CONNECT other.example:443 HTTP/1.1", "Host: other.example:443"),
}
for name, data in odd.items():
    status = send("good.example", data)
    if status not in ("403", "400", "431", "closed"): print(name, status)
print("done")
"#;
    let (world, out) = attack(&[GOOD], script);
    assert_eq!(out, "done\n");
    let seen = world.upstream.requests();
    assert!(seen.is_empty(), "upstream saw {seen:#?}");
}

#[test]
fn the_canonical_form_is_what_upstream_sees() {
    let script = r#"
print(send("good.example", b"GET /ok/%7euser/%c3%a9/a/./b/../c?q=%41 HTTP/1.1\r\nHost: GOOD.example.:443\r\nConnection: close\r\n\r\n"))
print(send("good.example", b"GET /ok/x#/../../admin HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n"))
print(send("good.example", b"GET https://good.example/ok/abs HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n"))
"#;
    let (world, out) = attack(&[GOOD], script);
    assert_eq!(out, "200\n200\n200\n");
    let seen = world.upstream.requests();
    let targets: Vec<_> = seen.iter().map(|r| r.target.split('?').next().unwrap_or_default()).collect();
    assert_eq!(targets, ["/ok/~user/%C3%A9/a/c", "/ok/x", "/ok/abs"]);
    assert!(seen.iter().all(|r| r.host.trim_end_matches(":443") == "good.example"), "{seen:?}");
    assert!(seen.iter().all(|r| r.sni.as_deref() == Some("good.example")), "{seen:?}");
}

#[test]
fn server_name_and_host_must_agree() {
    let script = r#"
get = lambda host: f"GET /ok/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
print(send("good.example", get("good.example"), server_name="other.example"))
print(send("other.example", get("good.example"), server_name="good.example"))
print(send("good.example", get("other.example")))
"#;
    let (world, out) = attack(&[GOOD], script);
    assert_eq!(out, "403\n403\n403\n");
    assert!(world.upstream.requests().is_empty());
}

#[test]
fn every_stream_of_one_http2_connection_is_judged() {
    let script = r#"
import subprocess
out = subprocess.run(["curl", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code}\n", "https://good.example/ok/1",
    "--next", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code}\n", "-H", "Host: other.example", "https://good.example/ok/2",
    "--next", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code}\n", "https://good.example/admin"], capture_output=True, text=True)
print(out.stdout.split())
"#;
    let (world, out) = attack(&[GOOD], script);
    assert_eq!(out, "['200', '403', '403']\n");
    assert_eq!(world.upstream.requests().len(), 1);
}

#[test]
fn addresses_in_disguise_are_not_dialled() {
    let rules = [
        "{host: '127.0.0.1', scheme: http}",
        "{host: good.example}",
        "{host: localtest.example, scheme: http}",
    ];
    let script = r#"
import subprocess
for url in ("http://127.0.0.1.nip.example/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/", "http://169.254.169.254/latest/meta-data/", "http://[64:ff9b::7f00:1]/", "http://100.64.0.1/"):
    code = subprocess.run(["curl", "-gsS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, text=True).stdout
    if code not in ("403", "000", "400"): print(url, code)
print("done")
"#;
    let (_, out) = attack(&rules, script);
    assert_eq!(out, "done\n");
}
