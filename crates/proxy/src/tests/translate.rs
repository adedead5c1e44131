//! Routes whose backend speaks another API: what it is sent, what the agent is told, and what is refused.

use bytes::Bytes;
use chiton_testkit::{
    Seen,
    routes::{Router, openai, scripts},
    server::{Received, answer, json},
};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::*;

const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";

/// An agent that speaks one API, and a backend of the other.
struct Pair {
    asked: &'static str,
    path: &'static str,
    backend: &'static str,
    backend_path: &'static str,
    key: (&'static str, &'static str),
    routing: &'static str,
}

const MESSAGES: Pair = Pair {
    asked: ANTHROPIC,
    path: "/v1/messages",
    backend: OPENAI,
    backend_path: "/v1/chat/completions",
    key: ("authorization", "Bearer "),
    routing: "provider: anthropic, backend: openai",
};
const CHAT: Pair = Pair {
    asked: OPENAI,
    path: "/v1/chat/completions",
    backend: ANTHROPIC,
    backend_path: "/v1/messages",
    key: ("x-api-key", ""),
    routing: "provider: openai, backend: anthropic",
};

impl Pair {
    fn server(&self, ca: &TestCa) -> Upstream {
        let router = Router::new();
        let router = if self.backend == OPENAI {
            router.any("/", scripts::answer_chat)
        } else {
            router.any("/", scripts::answer_messages)
        };
        Upstream::tls(ca, &[self.backend], router)
    }

    fn bench(&self, ca: &TestCa, upstream: &Upstream, rest: &str) -> Bench {
        let routing = self.routing;
        let policy = format!(
            "dynamic: {{llm_routing: {{{routing}, inject_backend_credential: 'local://key'{rest}}}}}"
        );
        let at = format!("{}:443", self.backend);
        Bench::new(Setup {
            policy: &policy,
            resolve: vec![(&at, upstream.address())],
            roots: vec![ca.pem().to_owned()],
            credentials: vec![("local://key", SECRET, None)],
            ..Setup::default()
        })
    }

    async fn ask(&self, bench: &Bench, target: &str, fields: &str, body: &str) -> String {
        let (host, length) = (self.asked, body.len());
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: {host}\r\nx-api-key: mine\r\nauthorization: Bearer mine\r\nanthropic-beta: x\r\n\
             openai-organization: x\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        bench.raw(host, &request).await
    }

    async fn say(&self, bench: &Bench, body: &Value) -> String {
        self.ask(bench, self.path, JSON, &body.to_string()).await
    }
}

const JSON: &str = "content-type: application/json\r\n";

fn request(model: &str, words: &str, stream: bool) -> Value {
    json!({"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": words}]})
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

fn sent(seen: &[Seen]) -> Value {
    serde_json::from_slice(&seen.last().unwrap().body).unwrap()
}

#[tokio::test]
async fn a_call_goes_in_the_backends_words_with_its_key_and_comes_back_in_the_askers() {
    let ca = TestCa::new();
    for pair in [MESSAGES, CHAT] {
        let upstream = pair.server(&ca);
        let bench = pair.bench(&ca, &upstream, ", models: [small], model_alias: {fast: small}");
        let target = format!("{}?beta=true", pair.path);
        let answer = pair.ask(&bench, &target, JSON, &request("fast", "hi", false).to_string()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("content-type: application/json"),
            "{answer}"
        );
        assert!(answer.contains("content-length: "), "{answer}");
        let said = body(&answer);
        let words = if pair.asked == ANTHROPIC {
            &said["content"][0]["text"]
        } else {
            &said["choices"][0]["message"]["content"]
        };
        assert_eq!(words, openai::GREETING);
        let seen = upstream.requests();
        assert_eq!((seen.len(), seen[0].target.as_str()), (1, pair.backend_path));
        assert_eq!((seen[0].host.as_str(), sent(&seen)["model"].as_str()), (pair.backend, Some("small")));
        let (name, prefix) = pair.key;
        assert_eq!(seen[0].header(name), Some(format!("{prefix}{SECRET}").as_str()));
        assert!(!seen[0].contains("mine"), "{seen:?}");
        let version = seen[0].header("anthropic-version").is_some();
        assert_eq!(version, pair.backend == ANTHROPIC);
        for gone in ["anthropic-beta", "openai-organization"] {
            let asked = if pair.asked == ANTHROPIC { "anthropic-" } else { "openai-" };
            assert!(seen[0].header(gone).is_none() || !gone.starts_with(asked), "{seen:?}");
        }
        // Models are judged as always.
        let refused = pair.say(&bench, &request("large", "hi", false)).await;
        assert!(refused.contains("x-chiton-denied: model_not_allowed"), "{refused}");
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_is_told_as_it_comes_and_its_usage_is_read() {
    let ca = TestCa::new();
    for pair in [MESSAGES, CHAT] {
        let upstream = pair.server(&ca);
        let bench = pair.bench(&ca, &upstream, "");
        let answer = pair.say(&bench, &request("plain", "hi", true)).await;
        let (end, never) =
            if pair.asked == ANTHROPIC { ("message_stop", "[DONE]") } else { ("[DONE]", "message_stop") };
        assert!(answer.contains("content-type: text/event-stream") && answer.contains(end), "{answer}");
        assert!(!answer.contains(never) && !answer.contains(SECRET), "{answer}");
        // Who did not ask for the usage of a chat is not told it.
        assert!(pair.asked == ANTHROPIC || !answer.contains("\"usage\""), "{answer}");
        let broken = pair.say(&bench, &request("broken", "hi", true)).await;
        assert!(broken.contains("\"error\"") && !broken.contains(end), "{broken}");
        let cut = pair.say(&bench, &request("cut", "hi", true)).await;
        assert!(cut.contains("ended before its end") && !cut.contains(end), "{cut}");
        let used = |event: &Event| {
            event.llm.as_ref().is_some_and(|llm| (llm.input_tokens, llm.output_tokens) == (Some(11), Some(7)))
        };
        assert_eq!(bench.events().iter().filter(|event| used(event)).count(), 1, "{:#?}", bench.events());
    }
}

#[tokio::test]
async fn what_the_backend_is_given_never_comes_back() {
    let ca = TestCa::new();
    for pair in [MESSAGES, CHAT] {
        let upstream = pair.server(&ca);
        let bench = pair.bench(&ca, &upstream, "");
        for stream in [false, true] {
            let answer = pair.say(&bench, &request("plain", openai::ECHO_PROMPT, stream)).await;
            assert!(answer.contains("I see") && answer.contains("redacted"), "{answer}");
            assert!(!answer.contains(SECRET) && !answer.contains(&SECRET[SECRET.len() / 2..]), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_text_within_a_text_is_cleaned_when_it_is_opened() {
    let ca = TestCa::new();
    let escaped: String = SECRET.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let answered = move |mut received: Received| {
        let arguments = format!("{{\"k\":\"{escaped}\"}}");
        async move {
            received.body().await;
            let call =
                json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
            let said = json!({"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"});
            json(200, &json!({"id": "x", "model": "m", "choices": [said]}))
        }
    };
    let upstream = Upstream::tls(&ca, &[OPENAI], Router::new().any("/", answered));
    let bench = MESSAGES.bench(&ca, &upstream, "");
    let answer = MESSAGES.say(&bench, &request("m", "hi", false)).await;
    let input = body(&answer)["content"][0]["input"].clone();
    assert!(input["k"].as_str().unwrap().contains("redacted"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_said_there_reaches_nobody() {
    let ca = TestCa::new();
    for pair in [MESSAGES, CHAT] {
        let upstream = pair.server(&ca);
        let bench = pair.bench(&ca, &upstream, "");
        let mut with = request("plain", "hi", false);
        with["of_tomorrow"] = json!(1);
        let good = request("plain", "hi", false).to_string();
        let query = format!("{}?x=1", pair.path);
        for (target, fields, body, named) in [
            (pair.path, JSON, with.to_string(), "`of_tomorrow`"),
            (pair.path, JSON, "[]".to_owned(), "not a JSON object"),
            (pair.path, JSON, String::new(), "not a JSON object"),
            (pair.path, "content-type: text/plain\r\n", good.clone(), "application/json"),
            (pair.path, "content-type: application/json; charset=utf-16\r\n", good.clone(), "UTF-8"),
            (
                pair.path,
                "content-type: application/json\r\ncontent-encoding: gzip\r\n",
                good.clone(),
                "not encoded",
            ),
            (query.as_str(), JSON, good.clone(), "`x`"),
        ] {
            let answer = pair.ask(&bench, target, fields, &body).await;
            assert!(answer.contains("x-chiton-denied: untranslatable") && answer.contains(named), "{answer}");
            assert!(!answer.contains(SECRET));
        }
        let twice = r#"{"model":"a","model":"b","max_tokens":1,"messages":[]}"#;
        let answer = pair.ask(&bench, pair.path, JSON, twice).await;
        assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
        for closed in ["/v1/messages/count_tokens", "/v1/complete", "/v1/responses", "/v1/embeddings"] {
            let answer = pair.ask(&bench, closed, JSON, &good).await;
            assert!(answer.contains("x-chiton-denied: path_not_allowed"), "{answer}");
        }
        assert_eq!(upstream.requests(), []);
        let refused = bench
            .events()
            .into_iter()
            .find(|event| event.reason.as_ref().is_some_and(|r| r.as_str() == "untranslatable"));
        assert_eq!(refused.unwrap().layer, chiton_audit::Layer::Llm);
    }
}

#[tokio::test]
async fn errors_and_what_is_no_answer_are_told_in_the_askers_shape() {
    let ca = TestCa::new();
    for pair in [MESSAGES, CHAT] {
        let upstream = pair.server(&ca);
        let bench = pair.bench(&ca, &upstream, "");
        for stream in [false, true] {
            let answer = pair.say(&bench, &request("limit", "hi", stream)).await;
            assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
            assert_eq!(body(&answer)["error"]["type"], "rate_limit_error");
        }
    }
    // A server that answers neither as asked nor in any way that can be told.
    let odd = |mut received: Received| async move {
        let asked: Value = serde_json::from_slice(&received.body().await).unwrap();
        match asked["model"].as_str().unwrap() {
            "json" => json(200, &json!({"choices": [], "key": SECRET})),
            "html" => answer(502, "text/html", "<html>"),
            _ => answer(200, "text/event-stream", "data: {}\n\n"),
        }
    };
    let upstream = Upstream::tls(&ca, &[OPENAI], Router::new().any("/", odd));
    let bench = MESSAGES.bench(&ca, &upstream, "");
    for (model, stream, said) in [
        ("json", false, "no choice, or several"),
        ("json", true, "is no stream"),
        ("html", false, "the backend answered 502"),
        ("events", false, "not what its API says"),
    ] {
        let answer = MESSAGES.say(&bench, &request(model, "hi", stream)).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("\"api_error\""), "{answer}");
        assert!(answer.contains(said) && !answer.contains(SECRET), "{answer}");
    }
}

#[tokio::test]
async fn a_fallback_may_be_of_another_api() {
    let ca = TestCa::new();
    let full = |mut received: Received| async move {
        received.body().await;
        json(429, &json!({"error": {"message": "full"}}))
    };
    let (first, second) = (Upstream::tls(&ca, &[OPENAI], Router::new().any("/", full)), CHAT.server(&ca));
    let bench = Bench::new(Setup {
        policy: "dynamic: {llm_routing: {provider: openai, fallback: [{provider: openai, backend: anthropic,\n\
                 model_alias: {m: small}, inject_backend_credential: 'local://key'}]}}",
        resolve: vec![("api.openai.com:443", first.address()), ("api.anthropic.com:443", second.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://key", SECRET, None)],
        ..Setup::default()
    });
    for stream in [false, true] {
        let answer = CHAT.say(&bench, &request("m", "hi", stream)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("chat.completion"), "{answer}");
        assert_eq!(sent(&second.requests())["model"], "small");
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));
}

#[tokio::test]
async fn over_http2_and_http1_on_either_side_the_same_is_told() {
    let ca = TestCa::new();
    let router = || Router::new().any("/", scripts::answer_chat);
    for upstream in [Upstream::tls(&ca, &[OPENAI], router()), Upstream::tls_http1(&ca, &[OPENAI], router())] {
        let bench = MESSAGES.bench(&ca, &upstream, "");
        let mut client = http2(bench.connect_tls(ANTHROPIC, ANTHROPIC, &["h2"]).await).await;
        for (model, stream, wanted) in [
            ("tools", false, r#""input":{"city": "Bern"}"#),
            ("tools", true, r#""partial_json":": \"Bern\"}""#),
            ("gone", true, "not_found_error"),
        ] {
            let body = request(model, "hi", stream);
            let mut sent = super::request(
                &Method::POST,
                "https://api.anthropic.com/v1/messages",
                Full::new(Bytes::from(body.to_string())),
            );
            sent.headers_mut().insert("content-type", "application/json".parse().unwrap());
            let answer = client.send_request(sent).await.unwrap();
            let length =
                answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
            let told = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(length.is_none_or(|length| length == told.len().to_string()));
            let told = String::from_utf8(told.to_vec()).unwrap();
            let own = MESSAGES.say(&bench, &body).await;
            assert!(told.contains(wanted) && own.contains(wanted), "{told}\n{own}");
        }
    }
}
