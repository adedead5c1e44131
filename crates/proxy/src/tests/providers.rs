//! Model routes to every provider of the table: whose key is seen, which models are called, and where it all leads.

use std::time::Duration;

use chiton_policy::Provider;
use chiton_testkit::routes::{Router, echo::streamed, openai};

use super::*;

const BACKEND: &str = "llm.corp.test";

/// A server that stands for these hosts and reads every body.
fn server(ca: &TestCa, host: &str) -> Upstream {
    Upstream::tls(ca, &[host], Router::new().any("/", openai::answer_request))
}

fn bench(ca: &TestCa, upstream: &Upstream, host: &str, routing: &str) -> Bench {
    let at = format!("{host}:443");
    Bench::new(Setup {
        policy: &format!("dynamic: {{llm_routing: {routing}}}"),
        resolve: vec![(&at, upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://key", SECRET, None)],
        ..Setup::default()
    })
}

fn call(host: &str, target: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

const JSON: &str = "content-type: application/json\r\n";

/// Asks a route to OpenAI for a chat.
async fn chat(bench: &Bench, body: &str) -> String {
    bench.raw("api.openai.com", &call("api.openai.com", "/v1/chat/completions", JSON, body)).await
}

#[tokio::test]
async fn with_every_provider_the_callers_keys_go_and_the_backends_comes() {
    let ca = TestCa::new();
    let all = || Provider::ALL.into_iter().map(|provider| (provider, provider.facts()));
    let mut fields = JSON.to_owned();
    let mut query = "a=1".to_owned();
    for (_, facts) in all() {
        fields.push_str(&format!("{}: {}mine\r\n", facts.key_header, facts.key_prefix));
        fields.push_str(&format!("{}: mine\r\n", facts.key_header.to_ascii_uppercase()));
        query.extend(facts.key_parameter.map(|name| format!("&{name}=mine")));
    }
    for (provider, facts) in all() {
        let own = facts.host.filter(|_| facts.backend.is_none());
        let host = own.unwrap_or(BACKEND);
        let base = if own.is_some() { String::new() } else { format!(", base_url: 'https://{BACKEND}'") };
        let upstream = server(&ca, host);
        let routing = format!("{{provider: {provider}{base}, inject_backend_credential: 'local://key'}}");
        let bench = bench(&ca, &upstream, host, &routing);
        for inside in [facts.host, Some("llm.internal")].into_iter().flatten() {
            let endpoint = facts.endpoints.iter().find(|endpoint| endpoint.calls_model()).unwrap();
            let path = format!("{}{}", facts.base, endpoint.path.replace("{model}", "m"));
            let request = call(inside, &format!("{path}?{query}"), &fields, r#"{"model":"m"}"#);
            let answer = bench.raw(inside, &request).await;
            assert!(!answer.contains("x-chiton-denied"), "{provider}: {answer}");
            let seen = upstream.requests().pop().unwrap();
            assert!(!seen.contains("mine"), "{provider}: {seen:?}");
            let wanted = format!("{}{SECRET}", facts.key_prefix);
            assert_eq!(seen.header(facts.key_header), Some(wanted.as_str()), "{provider}");
            let with_key = seen.headers.iter().filter(|(_, value)| value.contains(SECRET)).count();
            assert_eq!((with_key, seen.host.as_str()), (1, host), "{provider}");
            assert!(seen.target.ends_with(&format!("{}?a=1", endpoint.path.replace("{model}", "m"))));
        }
    }
}

#[tokio::test]
async fn calls_of_no_told_length_do_not_wait_for_each_other() {
    const CALLS: usize = 2 * limits::MODEL_CALLS / limits::MODEL_CALL;
    let ca = TestCa::new();
    let router = Router::new().any("/", async |mut received| {
        received.body().await;
        std::future::pending().await
    });
    let upstream = Upstream::tls(&ca, &["api.openai.com"], router);
    let bench = bench(&ca, &upstream, "api.openai.com", "{provider: openai, models: ['gpt-*']}");
    let body = format!(r#"{{"model":"gpt-5","user":"{}"}}"#, "x".repeat(2000));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\n{JSON}transfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let mut open = Vec::new();
    for _ in 0..CALLS {
        let mut stream = bench.connect_tls("api.openai.com", "api.openai.com", &["http/1.1"]).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let arrived = || upstream.requests().iter().filter(|seen| seen.body.len() >= body.len()).count();
    for _ in 0..1000 {
        if arrived() == CALLS {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} of {CALLS} calls have come", arrived());
}

#[tokio::test]
async fn a_model_that_the_route_does_not_have_reaches_nobody() {
    let ca = TestCa::new();
    let upstream = server(&ca, "api.openai.com");
    let routing = "{provider: openai, models: ['gpt-*', small], model_alias: {fast: small, gpt-x: other}}";
    let bench = bench(&ca, &upstream, "api.openai.com", routing);
    for (body, reason) in [
        (r#"{"model":"o5"}"#, "model_not_allowed"),
        // Judged by what is sent.
        (r#"{"model":"gpt-x"}"#, "model_not_allowed"),
        (r#"{"messages":[]}"#, "model_not_allowed"),
        (r#"{"model":null}"#, "model_not_allowed"),
        (r#"{"model":"gpt-5","tools":[{"type":"image_generation","model":"dall-e"}]}"#, "model_not_allowed"),
        (r#"["gpt-5"]"#, "model_not_allowed"),
        (r#"{"model":"gpt-5","model":"o5"}"#, "ambiguous_request"),
        (r#"{"model":"gpt-5","Model":"o5"}"#, "ambiguous_request"),
    ] {
        let answer = chat(&bench, body).await;
        assert!(answer.contains(&format!("x-chiton-denied: {reason}")), "{body}: {answer}");
    }
    let coded = format!("{JSON}content-encoding: gzip\r\n");
    let two = format!("{JSON}content-type: text/plain\r\n");
    for fields in [
        "content-type: text/plain\r\n",
        "content-type: multipart/form-data; boundary=x\r\n",
        "content-type: application/json; charset=utf-7\r\n",
        &two,
        &coded,
    ] {
        for path in ["/v1/chat/completions", "/v1/audio/transcriptions"] {
            let request = call("api.openai.com", path, fields, r#"{"model":"gpt-5"}"#);
            let answer = bench.raw("api.openai.com", &request).await;
            assert!(answer.contains("x-chiton-denied: model_not_allowed"), "{fields}: {answer}");
        }
    }
    assert_eq!(upstream.requests(), []);
    for (body, sent) in [(r#"{"model":"gpt-5"}"#, "gpt-5"), (r#"{"model":"fast"}"#, "small")] {
        assert!(chat(&bench, body).await.contains(&format!(r#""model":"{sent}""#)), "{body}");
    }
    let refused = bench
        .events()
        .into_iter()
        .find(|event| event.reason.as_ref().is_some_and(|r| r.as_str() == "model_not_allowed"));
    assert_eq!(refused.unwrap().layer, chiton_audit::Layer::Llm);
}

#[tokio::test]
async fn an_alias_is_put_into_bodies_of_every_length_and_framing() {
    let ca = TestCa::new();
    let upstream = server(&ca, "api.openai.com");
    let routing = "{provider: openai, model_alias: {m: a-much-longer-name, a-rather-long-name: s}}";
    let bench = bench(&ca, &upstream, "api.openai.com", routing);
    for (asked, sent) in [("m", "a-much-longer-name"), ("a-rather-long-name", "s"), ("other", "other")] {
        for path in ["/v1/chat/completions", "/v1/responses"] {
            let body = format!(r#"{{"model":"{asked}","pad":"{}"}}"#, "x".repeat(100_000));
            let wanted = body.replace(&format!(r#""{asked}""#), &format!(r#""{sent}""#));
            let (one, two) = body.split_at(15);
            let chunked = format!(
                "POST {path} HTTP/1.1\r\nhost: api.openai.com\r\n{JSON}transfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                 {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                one.len(),
                two.len()
            );
            for request in [call("api.openai.com", path, JSON, &body), chunked] {
                let answer = bench.raw("api.openai.com", &request).await;
                assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
                let seen = upstream.requests().pop().unwrap();
                assert!(String::from_utf8_lossy(&seen.body) == wanted, "{asked} {path}");
                let length = wanted.len().to_string();
                assert!(seen.header("content-length").is_none_or(|said| said == length), "{seen:?}");
            }
        }
    }
    // A stream, with the usage asked for too.
    let answer = chat(&bench, r#"{"stream":true,"model":"m"}"#).await;
    assert!(answer.contains("a-much-longer-name") && answer.contains("[DONE]"), "{answer}");
    assert!(!answer.contains("prompt_tokens"), "{answer}");
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        r#"{"stream_options":{"include_usage":true},"stream":true,"model":"a-much-longer-name"}"#
    );
}

#[tokio::test]
async fn a_backend_in_the_clear_on_this_machine_is_the_operators_to_open() {
    let upstream = Upstream::plain(Router::new().any("/", openai::answer_request));
    let url = format!("http://{}/v1", upstream.address());
    let policy = format!(
        "dynamic: {{llm_routing: {{provider: openai-compatible, base_url: '{url}', inject_backend_credential: 'local://key'}}}}"
    );
    let ask = async |opened: Vec<String>| {
        let bench = Bench::new(Setup {
            policy: &policy,
            credentials: vec![("local://key", SECRET, None)],
            opened,
            ..Setup::default()
        });
        bench
            .raw("llm.internal", &call("llm.internal", "/v1/chat/completions", JSON, r#"{"model":"m"}"#))
            .await
    };
    for opened in [vec![], vec!["http://127.0.0.1:1/v1".to_owned()], vec![format!("{url}/deeper")]] {
        let answer = ask(opened).await;
        assert!(answer.contains("x-chiton-denied: private_address"), "{answer}");
        assert!(answer.contains("[llm] allow"), "{answer}");
    }
    assert_eq!(upstream.requests(), []);
    let answer = ask(vec![url]).await;
    assert!(answer.contains(openai::GREETING), "{answer}");
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.host, upstream.address().to_string());
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
}

#[tokio::test]
async fn a_name_that_turns_out_to_be_here_is_no_backend() {
    let ca = TestCa::new();
    let upstream = server(&ca, BACKEND);
    let mut system = SystemNames::default();
    system.add(BACKEND, upstream.address().ip());
    let port = upstream.address().port();
    let policy = format!(
        "dynamic: {{llm_routing: {{provider: openai-compatible, base_url: 'https://{BACKEND}:{port}/v1'}}}}"
    );
    let bench =
        Bench::new(Setup { policy: &policy, roots: vec![ca.pem().to_owned()], system, ..Setup::default() });
    let answer = bench
        .raw("llm.internal", &call("llm.internal", "/v1/chat/completions", JSON, r#"{"model":"m"}"#))
        .await;
    assert!(answer.contains("x-chiton-denied: private_address"), "{answer}");
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn a_running_call_is_cut_when_the_models_change() {
    let ca = TestCa::new();
    let slow = |mut received: chiton_testkit::server::Received| async move {
        received.body().await;
        let piece = bytes::Bytes::from_static(b": waiting\n\n");
        streamed("text/event-stream", vec![piece; 10_000], Duration::from_millis(20))
    };
    let upstream = Upstream::tls(&ca, &["api.openai.com"], Router::new().any("/", slow));
    let bench = bench(&ca, &upstream, "api.openai.com", "{provider: openai, models: [a, b]}");
    for (number, models, cut) in [(2, "[a, b]", 0), (3, "[b]", 1)] {
        let mut stream = bench.connect_tls("api.openai.com", "api.openai.com", &["http/1.1"]).await;
        let body = r#"{"model":"a"}"#;
        stream.write_all(call("api.openai.com", "/v1/embeddings", JSON, body).as_bytes()).await.unwrap();
        let mut begun = [0; 1];
        stream.read_exact(&mut begun).await.unwrap();
        let policy = format!("dynamic: {{llm_routing: {{provider: openai, models: {models}}}}}");
        assert_eq!(bench.apply(number, &policy).await.unwrap(), cut, "{models}");
    }
}
