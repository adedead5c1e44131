//! The test kit's own servers, asked by real programs without chiton in between.

use std::process::Command;

use chiton_testkit::{
    RawUpstream, Router, TestCa, Upstream,
    raw::Script,
    routes::{anthropic, echo, encode, git, npm, openai, pypi},
};

const HOST: &str = "api.example.test";

struct Asked {
    ca: tempfile::NamedTempFile,
    port: u16,
}

impl Asked {
    fn new(ca: &TestCa, port: u16) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        ca.write(file.path());
        Self { ca: file, port }
    }

    fn curl(&self, path: &str, options: &[&str]) -> (i32, String) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(self.ca.path())
            .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.port)])
            .args(options)
            .arg(format!("https://{HOST}:{}{path}", self.port))
            .output()
            .expect("component missing: curl");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[test]
fn echo_shows_what_arrived_over_both_protocols() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &[HOST], Router::echo());
    let asked = Asked::new(&ca, server.address().port());
    for (option, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let (code, text) = asked.curl("/a/b?q=1", &[option, "-H", "x-test: 1", "-d", "body"]);
        assert_eq!(code, 0, "{text}");
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(seen["protocol"], protocol);
        assert_eq!(
            (&seen["method"], &seen["target"], &seen["sni"]),
            (&"POST".into(), &"/a/b?q=1".into(), &HOST.into())
        );
        assert_eq!(seen["body"], "body");
    }
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests().iter().all(|seen| seen.body == b"body" && seen.header("x-test") == Some("1")));
}

#[test]
fn bodies_of_every_kind_arrive() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &[HOST], Router::echo());
    let asked = Asked::new(&ca, server.address().port());
    assert_eq!(asked.curl("/bytes?n=3000000", &[]).1.len(), 3_000_000);
    assert_eq!(asked.curl("/chunked?n=3", &["--http1.1"]).1.len(), 3072);
    assert_eq!(asked.curl("/drip?n=4&ms=1", &[]).1, "....");
    assert!(asked.curl("/sse?n=2", &[]).1.contains("data: event 1\n\n"));
    assert_ne!(asked.curl("/cut?n=5", &[]).0, 0);
    assert_eq!(asked.curl("/upload", &["-d", "12345"]).1, r#"{"length":5}"#);
}

#[test]
fn encodings_decode_to_the_text() {
    let ca = TestCa::new();
    let server = Upstream::tls(&ca, &[HOST], Router::echo());
    let asked = Asked::new(&ca, server.address().port());
    for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
        let (code, text) =
            asked.curl(&format!("/encode/{coding}?split=20"), &["--compressed", "-H", "authorization: KEY"]);
        let undone = code == 0 && text.contains("KEY and says it again: KEY.");
        // curl may be built without the newer decoders; then the bytes themselves are checked.
        assert!(undone || matches!(coding, "br" | "zstd"), "{coding}: {code} {text}");
    }
    let (brotli, _) = encode::encode("br", "abc", "").unwrap();
    assert_eq!(brotli, [0x20, 0, 0x10, b'a', b'b', b'c', 3]);
}

#[test]
fn broken_servers_are_broken() {
    let ca = TestCa::new();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    for script in [Script::Send(cut.clone()), Script::SendThenReset(cut)] {
        let server = RawUpstream::tls(&ca, &[HOST], script);
        let (code, _) = Asked::new(&ca, server.address().port()).curl("/", &[]);
        assert_ne!(code, 0);
        assert!(server.log().requests()[0].target.starts_with("GET / HTTP/1.1\r\n"));
    }
}

#[test]
fn models_report_their_usage() {
    let ca = TestCa::new();
    let router =
        Router::new().any("/v1/messages", anthropic::answer_request).any("/", openai::answer_request);
    let server = Upstream::tls(&ca, &[HOST], router);
    let asked = Asked::new(&ca, server.address().port());
    let json = ["-H", "content-type: application/json"];
    let ask = |path: &str, body: &str| asked.curl(path, &[json[0], json[1], "-d", body]).1;
    assert!(ask("/v1/chat/completions", r#"{"model":"m"}"#).contains(openai::GREETING));
    assert!(ask("/v1/responses", r#"{"model":"m","stream":true}"#).contains("response.completed"));
    assert!(ask("/v1/messages", r#"{"model":"m","stream":true}"#).contains("message_stop"));
    let usage = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    assert!(ask("/v1/chat/completions", usage).contains("completion_tokens"));
    let key = asked.curl(
        "/v1/chat/completions",
        &["-H", "authorization: Bearer K", "-d", &format!(r#"{{"messages":"{}"}}"#, openai::ECHO_PROMPT)],
    );
    assert!(key.1.contains("I see Bearer K"));
}

#[test]
fn git_clones_and_pushes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("component missing: git");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let bare = folder.path().join("r.git");
    let (bare_text, clone) = (bare.to_str().unwrap().to_owned(), folder.path().join("c"));
    run(&["init", "-q", "--bare", &bare_text]);
    run(&["-C", &bare_text, "config", "http.receivepack", "true"]);
    let root = folder.path().to_owned();
    let router = Router::new().any("/", move |received| git::answer_request(root.clone(), received));
    let server = Upstream::plain(router);
    let clone = clone.to_str().unwrap();
    run(&["clone", "-q", &format!("http://{}/r.git", server.address()), clone]);
    std::fs::write(folder.path().join("c/f"), "x".repeat(100_000)).unwrap();
    run(&["-C", clone, "add", "f"]);
    run(&["-C", clone, "commit", "-qm", "f"]);
    run(&["-C", clone, "push", "-q", "origin", "HEAD:main"]);
    assert!(server.requests().iter().any(|seen| seen.target == "/r.git/git-receive-pack"));
}

#[test]
fn registries_serve_packages() {
    let folder = tempfile::tempdir().unwrap();
    let router = Router::new()
        .any("/simple/", pypi::answer_request)
        .any("/packages/", pypi::answer_request)
        .any("/echo", echo::answer_request)
        .any("/", npm::answer_request);
    let server = Upstream::plain(router);
    let target = folder.path().join("py");
    let pip = Command::new("python3")
        .args(["-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "--target"])
        .arg(&target)
        .args(["--index-url", &format!("http://{}/simple/", server.address()), "--trusted-host", "127.0.0.1"])
        .arg("tiny-package")
        .env("PIP_CONFIG_FILE", "/dev/null")
        .output()
        .expect("component missing: python3");
    assert!(pip.status.success(), "{}", String::from_utf8_lossy(&pip.stderr));
    assert!(target.join("tiny_package/__init__.py").exists());
    let packument = Command::new("curl")
        .args(["-sS", &format!("http://{}/@scope%2fname", server.address())])
        .output()
        .expect("component missing: curl");
    let packument: serde_json::Value = serde_json::from_slice(&packument.stdout).unwrap();
    assert_eq!(packument["name"], "@scope/name");
}
