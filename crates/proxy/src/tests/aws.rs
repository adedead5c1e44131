//! Requests to Amazon, signed by the agent with a placeholder: upstream they are signed by the rule's key.
//!
//! What is expected is signed here by the same code, which its own tests hold against Amazon's examples; a server that
//! verifies by itself is asked in `tests/main_job/aws.rs`.

use chiton_aws::{Claim, Credentials, Payload, Scope, Signer, ToSign, is_to_be_signed};
use chiton_testkit::{Seen, routes::Router};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const HOST: &str = "files.s3.eu-central-1.amazonaws.com";
pub(super) const OURS: &str =
    "AKIABACKENDBACKENDBA:backend/secret+key/0123456789abcdef:token-0123456789abcdef";
const THEIRS: &str = "AKIACHITONPLACEHOLDR:chiton-placeholder:placeholder-token-0123";

fn key(text: &str) -> Credentials {
    Credentials::parse(&SecretValue::new(text.as_bytes().to_vec())).unwrap()
}

fn scope(service: &str) -> Scope {
    Scope::new("eu-central-1", service).unwrap()
}

fn bench(ca: &TestCa, upstream: &Upstream) -> Bench {
    let at = format!("{HOST}:443");
    Bench::new(Setup {
        policy: &format!(
            "dynamic: {{network: {{http: [{{host: {HOST}, methods: ['*'], credential: {{aws: 'local://aws'}}}}]}}}}"
        ),
        resolve: vec![(&at, upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://aws", OURS, None)],
        ..Setup::default()
    })
}

/// A request that the agent's own program signed.
fn signed(service: &str, method: &str, target: &str, payload: Payload, body: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    if service == "s3" {
        let text = HeaderValue::from_str(&payload.text()).unwrap();
        headers.insert("x-amz-content-sha256", text);
    }
    headers.insert("x-amz-meta-note", HeaderValue::from_static("a  note"));
    let method_ = method.parse().unwrap();
    let request = ToSign { method: &method_, host: HOST, path, query, headers: &headers, payload };
    let (key, scope) = (key(THEIRS), scope(service));
    let signed = Signer::new(&key, &scope).sign(&request, std::time::SystemTime::now()).unwrap();
    for (name, value) in signed.headers {
        headers.insert(name, value);
    }
    let fields: String =
        headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: {HOST}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The query of a `GET` that the agent's own program signed, for a minute.
pub(super) fn presigned(host: &str, path: &str, query: &str) -> String {
    let (method, headers, payload) = (Method::GET, HeaderMap::new(), Payload::Unsigned);
    let request = ToSign { method: &method, host, path, query, headers: &headers, payload };
    let (theirs, s3) = (key(THEIRS), scope("s3"));
    let holds = std::time::Duration::from_secs(60);
    Signer::new(&theirs, &s3).presign(&request, std::time::SystemTime::now(), holds).unwrap()
}

/// Signs what was seen again, as of its own time: it has to come out the same.
fn is_signed_by_us(seen: &Seen, service: &str, payload: Payload) {
    assert!(is_signed(seen, HOST, &scope(service), payload), "{seen:?}");
}

/// Whether it comes out the same, for this host and scope.
pub(super) fn is_signed(seen: &Seen, host: &str, scope: &Scope, payload: Payload) -> bool {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in &seen.headers {
        let name: HeaderName = name.parse().unwrap();
        if is_to_be_signed(&name) && name != "content-length" {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
    }
    let method = seen.method.parse().unwrap();
    let request = ToSign { method: &method, host, path, query, headers: &headers, payload };
    let key = key(OURS);
    let now = std::time::SystemTime::now();
    let wanted = (0..60).map(|ago| {
        let at = now - std::time::Duration::from_secs(ago);
        Signer::new(&key, scope).sign(&request, at).unwrap().headers
    });
    let is_set = |name: &HeaderName, value: &HeaderValue| seen.header(name.as_str()) == value.to_str().ok();
    let mut wanted = wanted.filter(|headers| headers.iter().all(|(name, value)| is_set(name, value)));
    wanted.next().is_some_and(|headers| headers.len() >= 3)
}

pub(super) fn nothing_of_theirs(seen: &Seen) {
    assert!(!seen.contains("PLACEHOLDR") && !seen.contains("placeholder"), "{seen:?}");
    assert!(!seen.contains("secret+key"), "a key is never sent: {seen:?}");
}

#[tokio::test]
async fn by_a_header_whatever_is_said_of_the_body() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let body = "hello there";
    for (service, payload, target) in [
        ("s3", Payload::of(body.as_bytes()), "/some%20key/x?list-type=2&prefix=a%2Fb"),
        ("s3", Payload::Unsigned, "/k"),
        ("dynamodb", Payload::of(body.as_bytes()), "/"),
    ] {
        let answer = bench.raw(HOST, &signed(service, "POST", target, payload, body)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = upstream.requests().pop().unwrap();
        is_signed_by_us(&seen, service, payload);
        nothing_of_theirs(&seen);
        // The server says it all back.
        for part in OURS.split(':') {
            assert!(!answer.contains(part), "{part}: {answer}");
        }
        assert!(answer.contains("[redacted]"), "{answer}");
    }
}

#[tokio::test]
async fn by_the_query() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let query = presigned(HOST, "/k", "versionId=7");
    let get = |query: &str| {
        format!("GET /k?{query} HTTP/1.1\r\nhost: {HOST}\r\nrange: bytes=1-2\r\nconnection: close\r\n\r\n")
    };
    assert!(bench.raw(HOST, &get(&query)).await.starts_with("HTTP/1.1 200"));
    let seen = upstream.requests().pop().unwrap();
    nothing_of_theirs(&seen);
    let (_, sent) = seen.target.split_once('?').unwrap();
    let claim = Claim::of(&HeaderMap::new(), sent).unwrap();
    assert_eq!(claim.access_key_id, "AKIABACKENDBACKENDBA");
    assert!(sent.starts_with("versionId=7&X-Amz-Algorithm=") && sent.contains("X-Amz-Expires=60&"), "{sent}");
    assert_eq!(sent.matches("X-Amz-").count(), 7, "{sent}");
    assert_eq!(seen.header("range"), Some("bytes=1-2"), "S3 is read in parts");
    for bad in [query.replace("=60&", "=0&"), query.replace("=60&", "=999999&")] {
        let answer = bench.raw(HOST, &get(&bad)).await;
        assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    }
}

#[tokio::test]
async fn chunk_by_chunk() {
    let ca = TestCa::new();
    let upload = |mut received: chiton_testkit::server::Received| async move {
        received.body().await;
        chiton_testkit::server::answer(200, "text/plain", "ok\n")
    };
    let upstream = Upstream::tls(&ca, &[HOST], Router::new().any("/", upload));
    let bench = bench(&ca, &upstream);
    let chunk = "x".repeat(70_000);
    let empty = "0".repeat(64);
    let body = format!(
        "{:x};chunk-signature={empty}\r\n{chunk}\r\n5;chunk-signature={empty}\r\nhello\r\n0;chunk-signature={empty}\r\n\r\n",
        chunk.len()
    );
    let answer = bench.raw(HOST, &signed("s3", "PUT", "/k", Payload::Chunks, &body)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = upstream.requests().pop().unwrap();
    is_signed_by_us(&seen, "s3", Payload::Chunks);
    let sent = String::from_utf8_lossy(&seen.body);
    assert_eq!(
        (sent.len(), seen.header("content-length")),
        (body.len(), Some(body.len().to_string().as_str()))
    );
    let signatures: Vec<&str> = sent.split("chunk-signature=").skip(1).map(|rest| &rest[..64]).collect();
    assert!(signatures.len() == 3 && signatures.iter().all(|one| *one != empty), "{signatures:?}");
    // What is not in chunks after all does not go out as if it were.
    let answer = bench.raw(HOST, &signed("s3", "PUT", "/k", Payload::Chunks, "hello there")).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn what_is_not_signed_is_not_signed_for_it() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let good = signed("s3", "GET", "/k", Payload::of(b""), "");
    let twice = good.replace("\r\nauthorization: ", "\r\nauthorization: x\r\nauthorization: ");
    let other = good.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    let odd = good.replace("/eu-central-1/", "/eu%0acentral/");
    let plain = format!("GET /k HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    for request in [twice, other, odd, plain] {
        let answer = bench.raw(HOST, &request).await;
        assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{request}\n{answer}");
    }
    let hash = good.replace("x-amz-content-sha256: ", "x-amz-content-sha256: z");
    let answer = bench.raw(HOST, &hash).await;
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    assert_eq!(upstream.requests(), []);
}

#[tokio::test]
async fn what_is_answered_with_keys_is_not_signed() {
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &[HOST], Router::echo());
    let bench = bench(&ca, &upstream);
    let ask = async |service: &str, target: &str, kind: &str, body: &str| {
        let request = signed(service, "POST", target, Payload::of(body.as_bytes()), body);
        let kind = format!("\r\ncontent-type: {kind}\r\nhost: ");
        bench.raw(HOST, &request.replacen("\r\nhost: ", &kind, 1)).await
    };
    for (target, body) in [
        ("/", "Action=GetCallerIdentity&Version=2011-06-15"),
        ("/?Action=GetCallerIdentity&Version=2011-06-15", ""),
        ("/", "Action=DecodeAuthorizationMessage&EncodedMessage=a%3Bb"),
    ] {
        let answer = ask("sts", target, FORM, body).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{body}: {answer}");
        assert_eq!(upstream.requests().pop().unwrap().body, body.as_bytes());
    }
    assert!(ask("s3", "/?prefix=session", FORM, "").await.starts_with("HTTP/1.1 200"));
    let before = upstream.requests().len();
    for (service, target, kind, body) in [
        ("sts", "/", FORM, "Action=GetSessionToken&Version=2011-06-15"),
        ("sts", "/?Action=AssumeRole&RoleArn=x", FORM, ""),
        ("STS", "/", FORM, "Action=GetSessionToken"),
        ("sts", "/?Action=GetCallerIdentity", FORM, "Action=GetSessionToken"),
        ("sts", "/", FORM, "Action=GetCallerIdentity&Action=GetSessionToken"),
        ("sts", "/", FORM, "Action=GetCallerIdentity&%41ction=GetSessionToken"),
        ("sts", "/", FORM, "Action=GetCallerIdentity&a=b;Action=GetSessionToken"),
        ("sts", "/", FORM, "\u{feff}Action=GetSessionToken"),
        ("sts", "/", "application/json", "Action=GetCallerIdentity"),
        ("sts", "/service/S/operation/GetSessionToken", FORM, "Action=GetCallerIdentity"),
        ("sts", "/", FORM, ""),
        ("s3express", "/?session", FORM, ""),
        ("s3", "/?%73ession=", FORM, ""),
    ] {
        let answer = ask(service, target, kind, body).await;
        assert!(answer.contains("x-chiton-denied: credential_unavailable"), "{target} {body}: {answer}");
    }
    assert_eq!(upstream.requests().len(), before);
}
