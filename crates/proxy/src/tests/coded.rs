//! Content that is stored in a coding, from hosts that may be given a credential: as it is, and never with a value in it.

use bytes::Bytes;
use chiton_llm::redact::{ContentCoding, Redactor};
use chiton_testkit::{routes::Router, routes::encode::encode, server};
use http::response::Parts;
use http_body_util::{BodyExt, Empty};

use super::*;

const HOST: &str = "files.s3.eu-central-1.amazonaws.com";
const KEY: &str = "AKIABACKENDBACKENDBA:backend/secret+key/0123456789abcdef";
const BEARER: &str = "credential: 'local://key'";
const AWS: &str = "credential: {aws: 'local://key'}";

/// A server that has this text, in this coding, whoever asks; or the part of it that is asked for.
fn server(ca: &TestCa, coding: &'static str, text: String) -> Upstream {
    let stored = move |received: server::Received| {
        let (body, said) = encode(coding, &text, "").unwrap();
        async move {
            let part = received.seen.header("range").map(|_| Bytes::copy_from_slice(&body[100..200]));
            let mut answer = match part {
                Some(part) => server::answer(206, "text/plain", part),
                None => server::answer(200, "text/plain", body),
            };
            answer.headers_mut().insert("content-encoding", said.unwrap().parse().unwrap());
            answer
        }
    };
    Upstream::tls(ca, &[HOST], Router::new().any("/", stored))
}

fn bench(ca: &TestCa, upstream: &Upstream, credential: &str, key: &str) -> Bench {
    let at = format!("{HOST}:443");
    Bench::new(Setup {
        policy: &format!("dynamic: {{network: {{http: [{{host: {HOST}, methods: ['*'], {credential}}}]}}}}"),
        resolve: vec![(&at, upstream.address())],
        roots: vec![ca.pem().to_owned()],
        credentials: vec![("local://key", key, None)],
        ..Setup::default()
    })
}

/// The head, what came of the body, and whether that was all; none where not even the head came.
async fn get(bench: &Bench, target: &str, fields: &[(&'static str, &str)]) -> Option<(Parts, Vec<u8>, bool)> {
    let mut client = http2(bench.connect_tls(HOST, HOST, &["h2"]).await).await;
    let mut asked = request(&Method::GET, &format!("https://{HOST}{target}"), Empty::<Bytes>::new());
    for (name, value) in fields {
        asked.headers_mut().append(*name, value.parse().unwrap());
    }
    let (parts, mut body) = client.send_request(asked).await.ok()?.into_parts();
    let mut came = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Some((parts, came, false)) };
        came.extend_from_slice(&frame.into_data().unwrap());
    }
    Some((parts, came, true))
}

/// Words that repeat little.
fn words(count: u32) -> String {
    (0..count).map(|number| format!("{:x} ", number.wrapping_mul(0x9e37_79b9))).collect()
}

#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_the_contents_own() {
    let ca = TestCa::new();
    let text = words(50_000);
    for coding in ["gzip", "deflate", "zstd"] {
        let upstream = server(&ca, coding, text.clone());
        let bench = bench(&ca, &upstream, BEARER, SECRET);
        let stored = encode(coding, &text, "").unwrap().0;
        for fields in [
            &[][..],
            &[("accept-encoding", "identity")],
            &[("accept-encoding", "gzip;q=0, identity"), ("accept-encoding", "*; q=0.0")],
            &[("accept-encoding", "")],
        ] {
            let (parts, body, whole) = get(&bench, "/x", fields).await.unwrap();
            assert!(whole && body == stored, "{coding} {fields:?}: {} {whole}", body.len());
            assert_eq!(parts.headers.get("content-encoding").unwrap(), coding);
            let asked = upstream.requests().pop().unwrap();
            let wanted = (!fields.is_empty()).then_some("identity");
            assert_eq!(asked.header("accept-encoding"), wanted, "{coding} {fields:?}");
        }
        // One that was is ours to undo, in which the server may have put it for us.
        let (parts, body, whole) = get(&bench, "/x", &[("accept-encoding", "br, identity")]).await.unwrap();
        assert!(whole && body == text.as_bytes(), "{coding}");
        assert!(parts.headers.get("content-encoding").is_none());
    }
}

#[tokio::test]
async fn a_value_in_it_ends_the_response() {
    let ca = TestCa::new();
    let text = format!("{}{SECRET}{}", words(5000), words(50_000));
    for (coding, is) in
        [("gzip", ContentCoding::Gzip), ("deflate", ContentCoding::Deflate), ("zstd", ContentCoding::Zstd)]
    {
        let upstream = server(&ca, coding, text.clone());
        let bench = bench(&ca, &upstream, BEARER, SECRET);
        let (_, body, whole) = get(&bench, "/x", &[]).await.unwrap();
        let mut told = Vec::new();
        let mut undone = Redactor::NONE.scrubber(is);
        undone.feed(body.into());
        while let Ok(Some(piece)) = undone.next() {
            told.extend_from_slice(&piece);
        }
        let told = String::from_utf8(told).unwrap();
        assert!(
            !whole && text.starts_with(&told) && !told.contains(&SECRET[..3]),
            "{coding}: {}",
            told.len()
        );
    }
}

#[tokio::test]
async fn a_part_of_it_passes_where_nothing_is_sent_that_it_could_hold() {
    let ca = TestCa::new();
    let text = words(5000);
    let upstream = server(&ca, "gzip", text.clone());
    let stored = encode("gzip", &text, "").unwrap().0;
    let target = format!("/x?{}", aws::presigned(HOST, "/x", ""));
    for (key, passes) in [(KEY.to_owned(), true), (format!("{KEY}:token-0123456789abcdef"), false)] {
        let bench = bench(&ca, &upstream, AWS, &key);
        for fields in
            [&[("range", "bytes=100-199")][..], &[("range", "bytes=100-199"), ("accept-encoding", "gzip")]]
        {
            let came = get(&bench, &target, fields).await.filter(|(_, _, whole)| *whole);
            let body = came.map(|(parts, body, _)| {
                assert_eq!(parts.status, StatusCode::PARTIAL_CONTENT);
                assert_eq!(parts.headers.get("content-encoding").unwrap(), "gzip");
                body
            });
            assert_eq!(body.as_deref(), passes.then_some(&stored[100..200]), "{fields:?}");
        }
        // The whole passes in both cases.
        let (_, body, whole) = get(&bench, &target, &[]).await.unwrap();
        assert!(whole && body == stored);
    }
}
