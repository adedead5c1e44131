//! A credential goes to its host only, and whatever the caller smuggles beside it is removed.

use chiton_tests::{World, http_policy};

const KEY: &str = "sk-backend-3c0de9f1b2a47586";

fn world(hosts_of_the_secret: &str) -> World {
    let world = World::echo(&["api.openai.com", "api.example.com"]);
    let arguments = ["secret", "set", "openai", "--host", hosts_of_the_secret];
    let _ = world.chiton.run_with(&arguments, KEY).expect_success();
    world
}

fn policy() -> String {
    let llm = "  llm_routing:\n    provider: openai\n    inject_backend_credential: local://openai\n";
    http_policy(&["{host: api.example.com, methods: ['*']}"]) + llm
}

#[test]
fn callers_credentials_are_stripped_everywhere() {
    let world = world("api.openai.com");
    let script = "for v in --http1.1 --http2; do curl -sS $v -o /dev/null -d '{}' \
        -H 'Authorization: Bearer mine-stolen' -H 'authorization: Basic mine-stolen' -H 'X-API-Key: mine-stolen' -H 'api-key: mine-stolen' \
        -H 'x-goog-api-key: mine-stolen' -H 'Cookie: session=mine-stolen' -H 'Proxy-Authorization: Basic mine-stolen' \
        'https://api.openai.com/v1/chat/completions?key=mine-stolen&api_key=mine-stolen'; done";
    let _ = world.sh(&policy(), script).expect_success();
    let seen = world.upstream.requests();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert!(!request.contains("mine-stolen"), "{request:#?}");
        let keys: Vec<_> = request.headers.iter().filter(|(n, _)| n == "authorization").collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].1, format!("Bearer {KEY}"));
    }
}

#[test]
fn no_other_host_ever_gets_it() {
    let world = world("api.openai.com");
    let script = "curl -sS -o /dev/null -H \"Authorization: Bearer $OPENAI_API_KEY\" https://api.example.com/; \
        curl -sS -L -o /dev/null 'https://api.example.com/redirect?to=https://api.openai.com/v1/models'";
    let _ = world.sh(&policy(), script).expect_success();
    for request in world.upstream.requests() {
        assert_eq!(request.contains(KEY), request.host.starts_with("api.openai.com"), "{request:#?}");
    }
}

#[test]
fn a_key_of_another_host_is_not_sent_and_the_start_or_the_request_is_refused() {
    let world = world("api.anthropic.com");
    let outcome =
        world.sh(&policy(), "curl -sS -w '%header{x-chiton-denied}' https://api.openai.com/v1/models");
    assert!(world.upstream.requests().iter().all(|r| !r.contains(KEY)));
    let refused = outcome.status == 125 || outcome.stdout.contains("credential_unavailable");
    assert!(refused, "{outcome:?}");
}

#[test]
fn an_untrusted_server_gets_nothing() {
    let mut world = world("api.openai.com");
    let stranger = chiton_testkit::TestCa::new();
    world.upstream =
        chiton_testkit::Upstream::tls(&stranger, &["api.openai.com"], chiton_testkit::Router::echo());
    let address = world.upstream.address();
    world.chiton.resolve("api.openai.com:443", address);
    let script =
        "curl -sS -o /dev/null -w '%{http_code} %header{x-chiton-denied}' https://api.openai.com/v1/models";
    let outcome = world.sh(&policy(), script).expect_success();
    assert!(outcome.stdout.ends_with("upstream_tls"), "{outcome:?}");
    assert!(world.upstream.requests().is_empty());
}

fn rules(credential: &str) -> String {
    http_policy(&[
        &format!("{{host: api.example.com, methods: ['*'], credential: {credential}}}"),
        "{host: api.openai.com, methods: ['*']}",
    ])
}

fn ruled() -> World {
    let world = World::echo(&["api.example.com", "api.openai.com"]);
    let arguments = ["secret", "set", "key", "--host", "api.example.com"];
    let _ = world.chiton.run_with(&arguments, KEY).expect_success();
    world
}

#[test]
fn that_of_a_rule_goes_to_its_host_only() {
    let world = ruled();
    let policy = rules("{secret: 'local://key', header: x-own, env: OWN_KEY}");
    // The placeholder for another host, a redirect to another host, another host's name beside ours, plain HTTP.
    let script = "curl -sS -o /dev/null -H \"X-Own: $OWN_KEY\" https://api.openai.com/; \
        curl -sS -L -o /dev/null -H \"X-Own: $OWN_KEY\" 'https://api.example.com/redirect?to=https://api.openai.com/after'; \
        curl -sS -o /dev/null -w '%header{x-chiton-denied}\n' -H 'Host: api.openai.com' https://api.example.com/; \
        curl -sS -o /dev/null -w '%header{x-chiton-denied}\n' http://api.example.com/";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "ambiguous_request\nscheme_not_allowed\n", "{outcome:?}");
    let seen = world.upstream.requests();
    assert!(seen.iter().any(|request| request.header("x-own") == Some(KEY)), "{seen:?}");
    for request in seen {
        assert_eq!(request.contains(KEY), request.host.starts_with("api.example.com"), "{request:#?}");
    }
}

#[test]
fn that_of_a_rule_is_not_sent_where_its_secret_may_not_go_nor_to_a_stranger() {
    let mut world = ruled();
    let arguments = ["secret", "set", "key", "--host", "api.anthropic.com"];
    let _ = world.chiton.run_with(&arguments, KEY).expect_success();
    let policy = rules("'local://key'");
    let script = "curl -sS -o /dev/null -w '%header{x-chiton-denied}' https://api.example.com/";
    assert_eq!(world.sh(&policy, script).expect_success().stdout, "credential_unavailable");
    assert!(world.upstream.requests().is_empty());
    let _ =
        world.chiton.run_with(&["secret", "set", "key", "--host", "api.example.com"], KEY).expect_success();
    let stranger = chiton_testkit::TestCa::new();
    world.upstream =
        chiton_testkit::Upstream::tls(&stranger, &["api.example.com"], chiton_testkit::Router::echo());
    let address = world.upstream.address();
    world.chiton.resolve("api.example.com:443", address);
    assert_eq!(world.sh(&policy, script).expect_success().stdout, "upstream_tls");
    assert!(world.upstream.requests().is_empty());
}

#[test]
fn plain_http_has_it_only_where_a_rule_says_so() {
    let world = ruled();
    let plain = chiton_testkit::Upstream::plain(chiton_testkit::Router::echo());
    let mut world = world;
    world.chiton.resolve("api.example.com:80", plain.address());
    let script = "curl -sS -w '\n%header{x-chiton-denied}\n' http://api.example.com/";
    let outcome = world.sh(&rules("'local://key'"), script).expect_success();
    assert!(outcome.stdout.ends_with("\nscheme_not_allowed\n"), "{outcome:?}");
    assert!(plain.requests().is_empty());
    let named = http_policy(&["{host: api.example.com, scheme: http, credential: 'local://key'}"]);
    let outcome = world.sh(&named, script).expect_success();
    assert!(outcome.stdout.contains("Bearer [redacted]") && !outcome.stdout.contains(KEY), "{outcome:?}");
    assert_eq!(plain.requests()[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
}
