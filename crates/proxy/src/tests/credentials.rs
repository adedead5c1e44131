//! LLM routes: the agent's credentials out, the backend's in, and never back in any form that is promised.

use base64::Engine;
use chiton_audit::Layer;
use chiton_testkit::{RawUpstream, Router, raw::Script};

use super::*;

const ROUTE: &str = "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://openai'}}";
const HOST: &str = "api.openai.com";

fn bench(ca: &TestCa, address: SocketAddr) -> Bench {
    bound(ca, address, None)
}

fn bound(ca: &TestCa, address: SocketAddr, hosts: Option<Vec<&str>>) -> Bench {
    Bench::new(Setup {
        policy: ROUTE,
        resolve: vec![("api.openai.com:443", address)],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://openai", SECRET, hosts)],
        ..Setup::default()
    })
}

fn call(path: &str, fields: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A raw upstream that answers these bytes, whatever it is asked.
fn answers(ca: &TestCa, fields: &str, body: &[u8]) -> RawUpstream {
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{fields}\r\n", body.len()).into_bytes();
    reply.extend_from_slice(body);
    RawUpstream::tls(ca, &[HOST], Script::Send(reply))
}

#[tokio::test]
async fn the_callers_credentials_go_and_the_backends_comes() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, upstream.address());
    let fields = "Authorization: Bearer mine\r\nAUTHORIZATION: Bearer mine-too\r\nx-api-key: mine\r\napi-key: mine\r\n\
                  x-goog-api-key: mine\r\ncookie: session=mine\r\nproxy-authorization: Basic mine\r\n";
    let answer = bench.raw(HOST, &call("/v1/responses?key=mine&x=1&KEY=mine&%6bey=mine", fields, "{}")).await;
    assert_eq!(parts(&answer).0, StatusCode::OK, "{answer}");
    let seen = &upstream.requests()[0];
    assert!(!seen.contains("mine"), "{seen:?}");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(seen.target, "/v1/responses?x=1");
    let events = bench.events();
    assert!(events.iter().any(|event| event.layer == Layer::Credential && event.action.as_str() == "inject"));
    assert!(!format!("{events:?}").contains(SECRET));
}

#[tokio::test]
async fn an_echo_comes_back_without_the_key_in_every_form() {
    let ca = TestCa::new();
    let codings = ["plain", "gzip", "deflate", "zlib", "br", "zstd", "base64", "base64url", "percent"];
    for coding in codings {
        for split in ["", "&split=30", "&split=41", "&split=55"] {
            let path = format!("/encode/{coding}?header=authorization{split}");
            let router = Router::new().any("/", move |mut received| {
                let path = path.clone();
                async move {
                    received.path = path.split('?').next().unwrap().to_owned();
                    received.seen.target = path;
                    chiton_testkit::routes::echo::answer_request(received).await
                }
            });
            let upstream = Upstream::tls(&ca, &[HOST], router);
            let bench = bench(&ca, upstream.address());
            let answer = bench.raw(HOST, &call("/v1/responses", "accept-encoding: gzip\r\n", "{}")).await;
            unseen(&answer, coding);
        }
    }
}

/// No form of the secret that is promised is anywhere in the answer.
fn unseen(answer: &str, what: &str) {
    let answer: String = answer.split_inclusive("\r\n").collect();
    assert!(!answer.contains(SECRET), "{what}: {answer}");
    for pad in 0..3 {
        let padded = ["", "x", "xx"][pad].to_owned() + SECRET;
        let coded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
        // Without the characters that hang on the neighbours.
        let inner = &coded[if pad == 0 { 0 } else { 4 }..coded.len() - 4];
        assert!(!answer.contains(inner), "{what}: {answer}");
    }
}

#[tokio::test]
async fn headers_trailers_and_error_pages_are_cleaned() {
    let ca = TestCa::new();
    let reply = format!(
        "HTTP/1.1 401 No\r\nx-got: Bearer {SECRET}\r\nX-{SECRET}: 1\r\nlocation: https://x/?k={SECRET}\r\nset-cookie: k={SECRET}\r\n\
         transfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n5\r\nerror\r\na\r\n: {}\r\n{:x}\r\n{}\r\n0\r\nx-end: {SECRET}\r\n\r\n",
        &SECRET[..8],
        SECRET.len() - 8,
        &SECRET[8..]
    );
    let upstream = RawUpstream::tls(&ca, &[HOST], Script::Send(reply.into()));
    let bench = bench(&ca, upstream.address());
    let answer = bench.raw(HOST, &call("/v1/responses", "te: trailers\r\n", "{}")).await;
    let (status, head, body) = parts(&answer);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let text: String = body.split("\r\n").filter(|line| line.len() != 1 && line.len() != 2).collect();
    assert!(!text.contains(&SECRET[3..]) && !head.contains(SECRET) && !answer.contains(SECRET), "{answer}");
    assert!(answer.contains("[redacted]"), "{answer}");
}

#[tokio::test]
async fn an_encoding_that_cannot_be_undone_is_refused() {
    let ca = TestCa::new();
    for (coding, body) in
        [("compress", &b"whatever"[..]), ("gzip, br", b"whatever"), ("aes128gcm", b"whatever")]
    {
        let upstream = answers(&ca, &format!("content-encoding: {coding}\r\n"), body);
        let bench = bench(&ca, upstream.address());
        let answer = bench.raw(HOST, &call("/v1/responses", "", "{}")).await;
        assert_eq!(parts(&answer).0, StatusCode::BAD_GATEWAY, "{answer}");
    }
}

#[tokio::test]
async fn a_credential_goes_nowhere_else() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    // Bound to another host.
    let answer = bound(&ca, upstream.address(), Some(vec!["api.example.com"]));
    let answer = answer.raw(HOST, &call("/v1/responses", "", "{}")).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    // Not there at all.
    let bench = Bench::new(Setup {
        policy: ROUTE,
        resolve: vec![("api.openai.com:443", upstream.address())],
        roots: vec![ca.pem().to_owned()],
        ..Setup::default()
    });
    let answer = bench.raw(HOST, &call("/v1/responses", "", "{}")).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    assert_eq!(upstream.requests(), []);
    // Bound to this one.
    let bench = bound(&ca, upstream.address(), Some(vec![HOST]));
    assert_eq!(parts(&bench.raw(HOST, &call("/v1/responses", "", "{}")).await).0, StatusCode::OK);
    // Not over a certificate that does not verify.
    let impostor = Upstream::tls(&TestCa::new(), &[HOST], Router::echo());
    let bench = super::credentials::bench(&ca, impostor.address());
    let answer = bench.raw(HOST, &call("/v1/responses", "", "{}")).await;
    assert!(answer.contains("x-chiton-denied: upstream_tls"), "{answer}");
    assert_eq!(impostor.requests(), []);
    // Only to inference endpoints.
    let answer = bench.raw(HOST, &call("/v1/files", "", "{}")).await;
    assert!(answer.contains("x-chiton-denied: path_not_allowed"), "{answer}");
}

#[tokio::test]
async fn usage_is_read_from_plain_and_streamed_answers() {
    let ca = TestCa::new();
    let plain = br#"{"model":"gpt-5.2","usage":{"prompt_tokens":12,"completion_tokens":7}}"#;
    let stream = b"data: {\"model\":\"gpt-5.2\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\
                   data: {\"model\":\"gpt-5.2\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n";
    for (kind, body, asked) in [
        ("application/json", &plain[..], "{\"model\":\"gpt-5.2\"}"),
        ("text/event-stream", stream, "{\"model\":\"gpt-5.2\",\"stream\":true}"),
    ] {
        let upstream = answers(&ca, &format!("content-type: {kind}\r\n"), body);
        let bench = bench(&ca, upstream.address());
        let answer = bench.raw(HOST, &call("/v1/chat/completions", "", asked)).await;
        assert_eq!(parts(&answer).0, StatusCode::OK);
        let event = bench.event("response").await;
        assert_eq!(event.layer, Layer::Llm);
        let llm = event.llm.unwrap();
        assert_eq!(llm.provider.unwrap().as_str(), "openai");
        assert_eq!(
            (llm.model.as_deref(), llm.input_tokens, llm.output_tokens),
            (Some("gpt-5.2"), Some(12), Some(7))
        );
        if kind == "text/event-stream" {
            // Asked for by us, so not for the caller to see.
            assert!(!answer.contains("prompt_tokens"), "{answer}");
            assert!(answer.contains("data: [DONE]"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_body_that_names_two_models_is_refused() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, upstream.address());
    let answer = bench.raw(HOST, &call("/v1/chat/completions", "", r#"{"model":"a","model":"b"}"#)).await;
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn no_credential_rides_in_the_trailers_of_a_request() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, upstream.address());
    let stream = bench.connect_tls(HOST, HOST, &["h2"]).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let asked =
        http::Request::builder().method("POST").uri(format!("https://{HOST}/v1/responses")).body(()).unwrap();
    let (answer, mut body) = client.send_request(asked, false).unwrap();
    body.send_data("{}".into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("authorization", "Bearer mine".parse().unwrap());
    trailers.insert("x-api-key", "mine".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    assert!(!upstream.requests()[0].contains("mine"));
}

#[tokio::test]
async fn an_encoded_answer_without_a_body_is_no_damage() {
    let ca = TestCa::new();
    let reply = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 50\r\n\r\n";
    let upstream = RawUpstream::tls(&ca, &[HOST], Script::Send(reply.into()));
    let bench = bench(&ca, upstream.address());
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    let asked = request(
        &Method::HEAD,
        &format!("https://{HOST}/v1/models"),
        http_body_util::Empty::<bytes::Bytes>::new(),
    );
    let answer = client.send_request(asked).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    use http_body_util::BodyExt;
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}
