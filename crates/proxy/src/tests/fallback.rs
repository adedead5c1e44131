//! Fallbacks: which call goes on to which backend, with whose key, and what the agent is told.

use chiton_testkit::{
    routes::{Router, anthropic, openai},
    server::{Received, json},
};
use tokio::sync::Semaphore;

use super::*;

const HOST: &str = "api.openai.com";
const TWO: &str = "two.test";
const THREE: &str = "three.test";
const KEYS: [&str; 3] =
    ["sk-first-0123456789abcdef", "sk-second-0123456789abcdef", "sk-third-0123456789abcdef"];

/// A server for a host that answers every call with this status, and a body that says whose it is.
fn failing(ca: &TestCa, host: &'static str, status: u16) -> Upstream {
    let answer = move |mut received: Received| async move {
        received.body().await;
        json(status, &serde_json::json!({ "error": { "message": format!("from {host}") } }))
    };
    Upstream::tls(ca, &[host], Router::new().any("/", answer))
}

fn serving(ca: &TestCa, host: &str) -> Upstream {
    Upstream::tls(ca, &[host], Router::new().any("/", openai::answer_request))
}

fn policy(rest: &str) -> String {
    format!(
        "dynamic:\n  llm_routing:\n    provider: openai\n    inject_backend_credential: local://one\n\
         \x20   models: ['gpt-*', small]\n    model_alias: {{fast: small}}\n    fallback:\n\
         \x20     - {{provider: openai-compatible, base_url: 'https://{TWO}/v1', inject_backend_credential: 'local://two',\n\
         \x20        models: ['tiny-*'], model_alias: {{gpt-5: tiny-5, fast: tiny-1}}}}\n\
         \x20     - {{provider: groq, base_url: 'https://{THREE}/v1', inject_backend_credential: 'local://three'}}\n{rest}"
    )
}

fn keys() -> Vec<(&'static str, &'static str, Option<Vec<&'static str>>)> {
    vec![("local://one", KEYS[0], None), ("local://two", KEYS[1], None), ("local://three", KEYS[2], None)]
}

fn bench(ca: &TestCa, servers: [SocketAddr; 3], policy: &str) -> Bench {
    let at = [HOST, TWO, THREE].map(|host| format!("{host}:443"));
    Bench::new(Setup {
        policy,
        resolve: at.iter().map(String::as_str).zip(servers).collect(),
        roots: vec![ca.pem().to_owned()],
        credentials: keys(),
        ..Setup::default()
    })
}

async fn ask(bench: &Bench, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer mine\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    bench.raw(HOST, &request).await
}

/// The rules of what happened, each with the status that its server answered.
fn told(bench: &Bench) -> Vec<(String, Option<u16>)> {
    let told =
        bench.events().into_iter().filter(|event| matches!(event.action.as_str(), "request" | "response"));
    told.map(|event| (event.rule.unwrap_or_default(), event.response.and_then(|answer| answer.status)))
        .collect()
}

#[tokio::test]
async fn each_backend_is_tried_in_order_with_its_own_key_and_model() {
    let ca = TestCa::new();
    let (one, two, three) = (failing(&ca, HOST, 429), failing(&ca, TWO, 503), serving(&ca, THREE));
    let bench = bench(&ca, [one.address(), two.address(), three.address()], &policy(""));
    let answer = ask(&bench, r#"{"model":"gpt-5","messages":[]}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(openai::GREETING), "{answer}");
    for (server, key, target, model) in [
        (&one, KEYS[0], "/v1/chat/completions", "gpt-5"),
        (&two, KEYS[1], "/v1/chat/completions", "tiny-5"),
        // It has neither aliases nor models of its own: those of the route hold.
        (&three, KEYS[2], "/v1/chat/completions", "gpt-5"),
    ] {
        let seen = server.requests();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {key}").as_str()));
        assert_eq!(seen[0].target, target);
        assert_eq!(seen[0].body, format!(r#"{{"model":"{model}","messages":[]}}"#).into_bytes());
        let others = KEYS.iter().filter(|other| **other != key);
        assert!(others.chain([&"mine"]).all(|other| !seen[0].contains(other)), "{seen:?}");
    }
    while told(&bench).len() < 6 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let (first, second) = ("llm_routing.fallback[0]", "llm_routing.fallback[1]");
    let told = told(&bench);
    let expected = [
        ("llm_routing", None),
        ("llm_routing", Some(429)),
        (first, None),
        (first, Some(503)),
        (second, None),
        (second, Some(200)),
    ];
    let mut expected = expected.map(|(rule, status)| (rule.to_owned(), status)).to_vec();
    let mut told = told;
    expected.sort();
    told.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn only_what_a_backend_cannot_serve_goes_on() {
    let ca = TestCa::new();
    let (two, three) = (serving(&ca, TWO), serving(&ca, THREE));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (status, goes_on) in [
        (Some(200), false),
        (Some(400), false),
        (Some(401), false),
        (Some(404), false),
        (Some(429), true),
        (Some(500), true),
        (Some(529), true),
        (None, true),
    ] {
        let one = status.map(|status| failing(&ca, HOST, status));
        let address = one.as_ref().map_or(closed, Upstream::address);
        let bench = bench(&ca, [address, two.address(), three.address()], &policy(""));
        let before = two.requests().len();
        let answer = ask(&bench, r#"{"model":"gpt-5"}"#).await;
        assert_eq!(answer.contains(openai::GREETING), goes_on, "{status:?}: {answer}");
        assert_eq!(two.requests().len() - before, usize::from(goes_on), "{status:?}");
        assert_eq!(answer.contains(&format!("from {HOST}")), !goes_on, "{status:?}: {answer}");
    }
    assert_eq!(three.requests(), []);
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_there() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let (one, two, three) = (serving(&other, HOST), serving(&ca, TWO), serving(&ca, THREE));
    let bench = bench(&ca, [one.address(), two.address(), three.address()], &policy(""));
    assert!(ask(&bench, r#"{"model":"gpt-5"}"#).await.contains(openai::GREETING));
    assert_eq!((one.requests().len(), two.requests().len()), (0, 1));
    assert!(
        bench
            .events()
            .iter()
            .any(|event| event.reason.as_ref().is_some_and(|r| r.as_str() == "upstream_tls"))
    );
}

#[tokio::test]
async fn when_all_fail_the_last_that_answered_is_passed_on() {
    let ca = TestCa::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (one, two) = (failing(&ca, HOST, 429), failing(&ca, TWO, 503));
    let all = bench(&ca, [one.address(), two.address(), closed], &policy(""));
    let answer = ask(&all, r#"{"model":"gpt-5"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(&format!("from {TWO}")), "{answer}");
    let none = bench(&ca, [closed; 3], &policy(""));
    let answer = ask(&none, r#"{"model":"gpt-5"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains(THREE), "{answer}");
}

#[tokio::test]
async fn a_fallback_that_may_not_be_used_is_passed_over() {
    let ca = TestCa::new();
    let (one, two, three) = (failing(&ca, HOST, 500), serving(&ca, TWO), serving(&ca, THREE));
    let servers = [one.address(), two.address(), three.address()];
    // A model that it does not have: `small` is in the route's models, not in its own.
    let bench_ = bench(&ca, servers, &policy(""));
    assert!(ask(&bench_, r#"{"model":"small"}"#).await.contains(openai::GREETING));
    assert_eq!((two.requests().len(), three.requests().len()), (0, 1));
    // A `deny` for its host.
    let denied = policy(&format!("  network: {{http: [{{host: {TWO}, deny: [{{paths: ['/v1/**']}}]}}]}}\n"));
    let bench_ = bench(&ca, servers, &denied);
    assert!(ask(&bench_, r#"{"model":"gpt-5"}"#).await.contains(openai::GREETING));
    assert_eq!((two.requests().len(), three.requests().len()), (0, 2));
    // No credential for it, nor for the last one: the first one's answer stays.
    let at = [HOST, TWO, THREE].map(|host| format!("{host}:443"));
    let bench_ = Bench::new(Setup {
        policy: &policy(""),
        resolve: at.iter().map(String::as_str).zip(servers).collect(),
        roots: vec![ca.pem().to_owned()],
        credentials: vec![keys()[0].clone(), ("local://two", KEYS[1], Some(vec!["elsewhere.test"]))],
        ..Setup::default()
    });
    let answer = ask(&bench_, r#"{"model":"gpt-5"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains(&format!("from {HOST}")), "{answer}");
    assert_eq!((two.requests().len(), three.requests().len()), (0, 2));
    let reasons = bench_.events().into_iter().filter_map(|event| event.reason);
    assert_eq!(reasons.filter(|reason| reason.as_str() == "credential_unavailable").count(), 2);
}

#[tokio::test]
async fn what_the_route_itself_refuses_is_not_sent_elsewhere() {
    let ca = TestCa::new();
    let (one, two, three) = (serving(&ca, HOST), serving(&ca, TWO), serving(&ca, THREE));
    let servers = [one.address(), two.address(), three.address()];
    let without = Bench::new(Setup {
        policy: &policy(""),
        resolve: vec![("api.openai.com:443", servers[0]), ("two.test:443", servers[1])],
        roots: vec![ca.pem().to_owned()],
        credentials: keys().split_off(1),
        ..Setup::default()
    });
    let answer = ask(&without, r#"{"model":"gpt-5"}"#).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    let bench = bench(&ca, servers, &policy(""));
    let answer = ask(&bench, r#"{"model":"tiny-5"}"#).await;
    assert!(answer.contains("x-chiton-denied: model_not_allowed"), "{answer}");
    assert!([&one, &two, &three].iter().all(|server| server.requests().is_empty()));
}

#[tokio::test]
async fn a_running_call_is_cut_when_a_fallback_changes() {
    let ca = TestCa::new();
    let slow = |mut received: Received| async move {
        received.body().await;
        let piece = bytes::Bytes::from_static(b": waiting\n\n");
        let pause = std::time::Duration::from_millis(20);
        chiton_testkit::routes::echo::streamed("text/event-stream", vec![piece; 10_000], pause)
    };
    let (one, three) = (failing(&ca, HOST, 500), serving(&ca, THREE));
    let two = Upstream::tls(&ca, &[TWO], Router::new().any("/", slow));
    let bench = bench(&ca, [one.address(), two.address(), three.address()], &policy(""));
    let changed = policy("").replace("models: ['tiny-*'], ", "");
    for (number, next, cut) in [(2, policy(""), 0), (3, changed, 1)] {
        let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
        let body = r#"{"model":"gpt-5"}"#;
        let head =
            format!("POST /v1/embeddings HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut begun = [0; 1];
        stream.read_exact(&mut begun).await.unwrap();
        let made = Revision::build(revised(number, &next, &keys())).unwrap();
        assert_eq!(bench.proxy.apply(made).await, cut, "{number}");
    }
}

#[tokio::test]
async fn a_fallback_with_another_api_is_asked_in_its_words_and_answers_in_the_askers() {
    const OTHER: &str = "api.anthropic.com";
    let ca = TestCa::new();
    let one = failing(&ca, HOST, 503);
    let two = Upstream::tls(&ca, &[OTHER], Router::new().any("/", anthropic::answer_request));
    let (first, second) = (format!("{HOST}:443"), format!("{OTHER}:443"));
    let bench = Bench::new(Setup {
        policy: "dynamic:\n  llm_routing:\n    provider: openai\n    inject_backend_credential: local://one\n    fallback:\n\
                 \x20     - {provider: anthropic, inject_backend_credential: 'local://two', strip_caller_credentials: true,\n\
                 \x20        model_alias: {gpt-5: claude}}\n",
        resolve: vec![(&first, one.address()), (&second, two.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: keys(),
        ..Setup::default()
    });
    for stream in [false, true] {
        let body = format!(
            r#"{{"model":"gpt-5","stream":{stream},"messages":[{{"role":"user","content":"hello"}}]}}"#
        );
        let answer = ask(&bench, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("chat.completion"), "{answer}");
        assert_eq!(answer.contains("[DONE]"), stream, "{answer}");
        let seen = two.requests().pop().unwrap();
        assert_eq!((seen.target.as_str(), seen.header("x-api-key")), ("/v1/messages", Some(KEYS[1])));
        assert!(!seen.contains("mine") && !seen.contains(KEYS[0]), "{seen:?}");
        assert!(String::from_utf8_lossy(&seen.body).contains(r#""model":"claude""#), "{seen:?}");
    }
}

#[tokio::test]
async fn each_try_is_settled_at_its_own_backend_and_has_its_own_limits() {
    let ca = TestCa::new();
    let (one, two, three) = (failing(&ca, HOST, 503), serving(&ca, TWO), serving(&ca, THREE));
    let limits = "limits: {tokens_per_day: 4000, requests_per_minute: 2}";
    let policy = format!(
        "dynamic:\n  llm_routing:\n    provider: openai\n    limits: {{tokens_per_day: 4000}}\n    fallback:\n\
         \x20     - {{provider: openai-compatible, base_url: 'https://{TWO}/v1', {limits}}}\n\
         \x20     - {{provider: groq, base_url: 'https://{THREE}/v1'}}\n"
    );
    let bench = bench(&ca, [one.address(), two.address(), three.address()], &policy);
    // Five calls that may each take about 3,000: what the first backend did not serve costs nothing there.
    for (call, served) in [(1, &two), (2, &two), (3, &three), (4, &three)] {
        let before = served.requests().len();
        let answer = ask(&bench, r#"{"model":"m","max_tokens":2400,"messages":[]}"#).await;
        assert!(answer.contains(openai::GREETING), "{call}: {answer}");
        assert_eq!(served.requests().len(), before + 1, "{call}");
    }
    assert_eq!(one.requests().len(), 4);
    while told(&bench).iter().filter(|(_, status)| status.is_some()).count() < 8 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for event in bench.events().iter().filter(|event| event.action.as_str() == "response") {
        let llm = event.llm.as_ref().unwrap();
        let spent = (llm.input_tokens, llm.output_tokens);
        let first = event.rule.as_deref() == Some("llm_routing");
        assert_eq!(spent, if first { (Some(0), Some(0)) } else { (Some(11), Some(7)) }, "{event:?}");
    }
    // The second had its two of this minute.
    assert_eq!(bench.denials().len(), 2, "{:?}", bench.denials());
}

/// What the second backend got of a call, and what came of that, where a revision came while the first one thought.
async fn revised_meanwhile(next: &str, keys: &[(&str, &str, Option<Vec<&str>>)]) -> (u64, usize, String) {
    let ca = TestCa::new();
    let (asked, goes_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gate = (asked.clone(), goes_on.clone());
    let slow = move |mut received: Received| {
        let (asked, goes_on) = gate.clone();
        async move {
            received.body().await;
            asked.add_permits(1);
            let _on = goes_on.acquire().await.unwrap();
            json(503, &serde_json::json!({}))
        }
    };
    let one = Upstream::tls(&ca, &[HOST], Router::new().any("/", slow));
    let (two, three) = (serving(&ca, TWO), serving(&ca, THREE));
    let bench = bench(&ca, [one.address(), two.address(), three.address()], &policy(""));
    let changed = async {
        let _asked = asked.acquire().await.unwrap();
        let cut = bench.proxy.apply(Revision::build(revised(2, next, keys)).unwrap()).await;
        goes_on.add_permits(1);
        cut
    };
    let (answer, cut) = tokio::join!(ask(&bench, r#"{"model":"gpt-5","messages":[]}"#), changed);
    (cut, two.requests().len(), answer)
}

#[tokio::test]
async fn what_a_new_revision_takes_from_a_fallback_is_not_there_any_more() {
    let (cut, got, answer) = revised_meanwhile(&policy(""), &keys()).await;
    assert!((cut, got) == (0, 1) && answer.contains(openai::GREETING), "{answer}");
    // Its key, by the policy.
    let taken = policy("").replace(", inject_backend_credential: 'local://two'", "");
    assert_ne!(taken, policy(""));
    assert_eq!(revised_meanwhile(&taken, &keys()).await, (1, 0, String::new()));
    // Its host.
    let denied = policy(&format!("  network: {{http: [{{host: {TWO}, deny: [{{paths: ['/v1/**']}}]}}]}}\n"));
    assert_eq!(revised_meanwhile(&denied, &keys()).await, (1, 0, String::new()));
    // Its key, which the operator removed: the next one is asked.
    let without = [keys()[0].clone(), keys()[2].clone()];
    let (cut, got, answer) = revised_meanwhile(&policy(""), &without).await;
    assert!((cut, got) == (0, 0) && answer.contains(openai::GREETING), "{answer}");
}
