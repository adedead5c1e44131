//! `http://chiton.internal/`: what the agent may ask, with curl.

use chiton_testkit::routes::Router;
use chiton_tests::{As, REFERENCE, World};
use serde_json::Value;

fn world(user: As) -> World {
    let world = World::new(user, &["api.github.com", "evil.example"], Router::echo());
    world.chiton.secret("openai", "sk-backend-0123456789abcdef");
    world
}

fn told(user: As) {
    let world = world(user);
    let script = "for i in 1 2; do curl -sS -o /dev/null https://api.github.com/repos/o/n; done; \
                  curl -sS -o /dev/null https://evil.example/; \
                  curl -sS http://chiton.internal/denials; echo ==; \
                  curl -sS https://chiton.internal/policy; echo ==; \
                  curl -sS -o /dev/null -w '%{http_code} ' http://chiton.internal/other; \
                  curl -sS -o /dev/null -w '%{http_code} ' -X POST http://chiton.internal/policy; \
                  curl -sS -o /dev/null -w '%{http_code}' http://x.chiton.internal/policy";
    let outcome = world.sh(REFERENCE, script).expect_success();
    let mut parts = outcome.stdout.split("==\n");
    let mut next = || parts.next().expect("a part");
    let denials: Value = serde_json::from_str(next()).expect("denials");
    let policy: Value = serde_json::from_str(next()).expect("a policy");
    assert_eq!(next(), "404 405 403", "{outcome:?}");

    let [newest, before] = denials["denials"].as_array().expect("a list").as_slice() else {
        panic!("{denials:#}")
    };
    assert_eq!((&newest["reason"], &newest["count"]), (&"host_not_allowed".into(), &1.into()));
    assert_eq!((&before["reason"], &before["count"]), (&"path_not_allowed".into(), &2.into()));
    assert_eq!(before["request"]["path"], "/repos/o/n");
    assert!(before["suggestion"].as_str().is_some_and(|text| text.contains("/repos/o/n")), "{denials:#}");
    // The event that it names is the log's.
    let event = before["event"].as_str().expect("an event").to_owned();
    assert!(world.chiton.audit(&["--decision", "deny"]).iter().any(|line| line["id"] == *event));

    assert_eq!(policy["policy"]["dynamic"]["network"]["http"][0]["host"], "api.github.com");
    // Where the key is kept is nobody's business inside.
    assert_eq!(policy["policy"]["dynamic"]["llm_routing"]["inject_backend_credential"], "set", "{policy:#}");
    assert!(!outcome.stdout.contains("local://"), "{outcome:?}");
    assert!(world.upstream.requests().is_empty());
}

#[test]
fn an_ordinary_users_agent_may_ask() {
    told(As::User);
}

#[test]
fn roots_agent_may_ask() {
    told(As::Root);
}

#[test]
fn also_where_nothing_is_allowed() {
    let world = world(As::User);
    let policy = "static: {filesystem: {allowed_paths: [/workspace]}}";
    let outcome = world.sh(policy, "curl -sS http://chiton.internal/policy").expect_success();
    let policy: Value = serde_json::from_str(&outcome.stdout).expect("a policy");
    assert_eq!(policy["revision"], 1);
}
