//! Routes to Bedrock: whose key signs, for which region, what is read of the answers, and what of them passes.

use chiton_audit::LlmUse;
use chiton_aws::{Payload, Scope};
use chiton_testkit::{
    Seen,
    frames::{chunk, frame},
    routes::{Router, bedrock, echo::streamed},
};

use super::{
    aws::{OURS, is_signed, nothing_of_theirs},
    *,
};

const HOST: &str = "bedrock-runtime.eu-central-1.amazonaws.com";
const GATEWAY: &str = "llm.corp.test";
const JSON: &str = "content-type: application/json\r\n";
const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

fn bench(ca: &TestCa, upstream: &Upstream, host: &str, key: &str, more: &str) -> Bench {
    let at = format!("{host}:443");
    Bench::new(Setup {
        policy: &format!(
            "dynamic: {{llm_routing: {{provider: bedrock, base_url: 'https://{host}', \
             inject_backend_credential: 'local://key'{more}}}}}"
        ),
        resolve: vec![(&at, upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://key", key, None)],
        ..Setup::default()
    })
}

fn server(ca: &TestCa, host: &str) -> Upstream {
    Upstream::tls(ca, &[host], Router::new().any("/", bedrock::answer_request))
}

/// As an SDK with placeholder keys signs, for a region.
fn authorization(region: &str) -> String {
    format!(
        "authorization: AWS4-HMAC-SHA256 Credential=AKIACHITONPLACEHOLDR/20260101/{region}/bedrock/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={}\r\nx-amz-date: 20260101T000000Z\r\n\
         x-amz-security-token: placeholder-token\r\n",
        "0".repeat(64)
    )
}

fn call(host: &str, target: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn is_signed_for(seen: &Seen, host: &str, region: &str, body: &str) -> bool {
    is_signed(seen, host, &Scope::new(region, "bedrock").unwrap(), Payload::of(body.as_bytes()))
}

#[tokio::test]
async fn a_call_is_signed_by_the_routes_key_for_the_backends_region() {
    let ca = TestCa::new();
    let upstream = server(&ca, HOST);
    let bench = bench(&ca, &upstream, HOST, OURS, ", model_alias: {fast: 'eu.anthropic.x:0'}");
    // By its own host, by ours, for another region, and not signed at all.
    for (inside, fields) in [
        (HOST, authorization("eu-central-1")),
        ("bedrock.llm.internal", authorization("us-east-1")),
        ("llm.internal", String::new()),
        (HOST, "authorization: Bearer placeholder\r\n".to_owned()),
    ] {
        let fields = format!("{JSON}{fields}");
        for (model, sent) in [("fast", "eu.anthropic.x%3A0"), ("eu.anthropic.x%3A0", "eu.anthropic.x%3A0")] {
            let target = format!("/model/{model}/converse?a=1&X-Amz-Signature=placeholder");
            let answer = bench.raw(inside, &call(inside, &target, &fields, BODY)).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(
                (seen.target.as_str(), seen.host.as_str()),
                (&*format!("/model/{sent}/converse?a=1"), HOST)
            );
            assert!(is_signed_for(&seen, HOST, "eu-central-1", BODY), "{seen:?}");
            nothing_of_theirs(&seen);
        }
    }
    // A body that says no type is JSON there, and says so.
    let answer = bench.raw(HOST, &call(HOST, "/model/m/invoke", "", BODY)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(is_signed_for(&seen, HOST, "eu-central-1", BODY), "{seen:?}");
}

#[tokio::test]
async fn behind_a_gateway_the_agents_own_signature_tells_the_region() {
    let ca = TestCa::new();
    let upstream = server(&ca, GATEWAY);
    let bench = bench(&ca, &upstream, GATEWAY, OURS, "");
    let fields = format!("{JSON}{}", authorization("us-west-2"));
    let answer = bench.raw(GATEWAY, &call(GATEWAY, "/model/m/converse", &fields, BODY)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(is_signed_for(&upstream.requests().pop().unwrap(), GATEWAY, "us-west-2", BODY));
    let answer = bench.raw(GATEWAY, &call(GATEWAY, "/model/m/converse", JSON, BODY)).await;
    assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
    assert!(answer.contains("tells the region"), "{answer}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_key_of_bedrocks_own_goes_in_the_header_and_half_a_key_nowhere() {
    let ca = TestCa::new();
    let upstream = server(&ca, HOST);
    let request = call(HOST, "/model/m/converse", &format!("{JSON}{}", authorization("eu-central-1")), BODY);
    let own = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl+/==";
    assert!(bench(&ca, &upstream, HOST, own, "").raw(HOST, &request).await.starts_with("HTTP/1.1 200"));
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {own}").as_str()));
    nothing_of_theirs(&seen);
    for half in ["AKIA:backend/secret+key/0123456789abcdef", r#"{"AccessKeyId":"AKIABACKENDBACKENDBA"}"#] {
        let answer = bench(&ca, &upstream, HOST, half, "").raw(HOST, &request).await;
        assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{answer}");
        assert!(answer.contains("is no AWS key"), "{answer}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn usage_is_told_plain_and_streamed() {
    let ca = TestCa::new();
    for (end, cached) in [
        ("converse", Some(bedrock::CACHED)),
        ("converse-stream", Some(bedrock::CACHED)),
        ("invoke", None),
        ("invoke-with-response-stream", None),
    ] {
        let upstream = server(&ca, HOST);
        let bench = bench(&ca, &upstream, HOST, OURS, ", limits: {tokens_per_day: 500000}");
        let request = call(HOST, &format!("/model/eu.anthropic.x%3A0/{end}"), "", BODY);
        let answer = bench.raw(HOST, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{end}: {answer}");
        let LlmUse { model, input_tokens, output_tokens, cached_tokens, bound, .. } =
            bench.event("response").await.llm.unwrap();
        assert_eq!((input_tokens, output_tokens, cached_tokens), (Some(11), Some(7), cached), "{end}");
        assert_eq!((model.as_deref(), bound), (Some("eu.anthropic.x:0"), false), "{end}");
    }
}

#[tokio::test]
async fn what_a_server_says_back_of_a_key_does_not_pass() {
    let ca = TestCa::new();
    let secret = "backend/secret+key/0123456789abcdef";
    for say in [
        frame("contentBlockDelta", format!(r#"{{"delta":{{"text":"{secret}"}}}}"#).as_bytes()),
        chunk(r#"{"delta":{"text":"AKIABACKENDBACKENDBA"}}"#),
        chunk(&format!(r#"{{"delta":{{"text":"{secret}"}}}}"#)),
    ] {
        let hello = frame("hello-there", b"{}");
        let stream = move |mut received: chiton_testkit::server::Received| {
            let frames = vec![hello.clone().into(), say.clone().into()];
            async move {
                received.body().await;
                streamed("application/vnd.amazon.eventstream", frames, std::time::Duration::from_millis(50))
            }
        };
        let upstream = Upstream::tls(&ca, &[HOST], Router::new().any("/", stream));
        let bench = bench(&ca, &upstream, HOST, OURS, "");
        let answer = bench.raw(HOST, &call(HOST, "/model/m/converse-stream", JSON, BODY)).await;
        assert!(answer.contains("hello-there"), "{answer}");
        assert!(!answer.contains("bytes") && !answer.contains("secret+key"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "it is cut: {answer}");
    }
}

#[tokio::test]
async fn another_price_is_seen_in_fields_too() {
    let ca = TestCa::new();
    let upstream = server(&ca, HOST);
    let at = format!("{HOST}:443");
    let bench = Bench::new(Setup {
        policy: &format!(
            "dynamic: {{llm_routing: {{provider: bedrock, base_url: 'https://{HOST}', limits: {{usd_per_day: 5}}}}}}"
        ),
        resolve: vec![(&at, upstream.address())],
        roots: vec![ca.pem().to_owned()],
        prices: serde_json::from_str(r#"{"bedrock/m":{"input":"1","output":"10"}}"#).unwrap(),
        ..Setup::default()
    });
    let tier = "x-amzn-bedrock-service-tier: priority\r\n";
    let answer = bench.raw(HOST, &call(HOST, "/model/m/invoke", tier, BODY)).await;
    assert!(answer.contains("x-chiton-denied: limit_exceeded"), "{answer}");
    assert!(answer.contains("x-amzn-bedrock-service-tier"), "{answer}");
    assert_eq!(upstream.requests(), []);
    let answer = bench.raw(HOST, &call(HOST, "/model/m/invoke", "", BODY)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_fallback_is_signed_for_its_own_region_and_a_deny_holds_for_it() {
    const OTHER: &str = "bedrock-runtime.us-east-1.amazonaws.com";
    let ca = TestCa::new();
    let busy = |mut received: chiton_testkit::server::Received| async move {
        received.body().await;
        chiton_testkit::server::answer(503, "application/json", "{}")
    };
    let first = Upstream::tls(&ca, &[HOST], Router::new().any("/", busy));
    let second = server(&ca, OTHER);
    let (at, other) = (format!("{HOST}:443"), format!("{OTHER}:443"));
    for (deny, status) in [("", "200"), ("/model/*/converse", "503")] {
        let rules = if deny.is_empty() {
            String::new()
        } else {
            format!(", network: {{http: [{{host: {OTHER}, deny: [{{paths: ['{deny}']}}]}}]}}")
        };
        let bench = Bench::new(Setup {
            policy: &format!(
                "dynamic: {{llm_routing: {{provider: bedrock, base_url: 'https://{HOST}', \
                 inject_backend_credential: 'local://key', fallback: [{{provider: bedrock, \
                 base_url: 'https://{OTHER}', inject_backend_credential: 'local://key', \
                 model_alias: {{'eu.x:0': 'us.x:0'}}}}]}}{rules}}}"
            ),
            resolve: vec![(&at, first.address()), (&other, second.address())],
            roots: vec![ca.pem().to_owned()],
            credentials: vec![("local://key", OURS, None)],
            ..Setup::default()
        });
        let fields = format!("{JSON}{}", authorization("eu-central-1"));
        let answer = bench.raw(HOST, &call(HOST, "/model/eu.x%3A0/converse", &fields, BODY)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let seen = second.requests();
    assert_eq!((seen.len(), seen[0].target.as_str()), (1, "/model/us.x%3A0/converse"));
    assert!(is_signed_for(&seen[0], OTHER, "us-east-1", BODY), "{seen:?}");
    nothing_of_theirs(&seen[0]);
    assert!(first.requests().iter().all(|seen| is_signed_for(seen, HOST, "eu-central-1", BODY)));
}
