//! A model provider that says everything it was sent: in its words, in a header, in its errors; as the caller asks for
//! by `x-mode`: `plain`, `gzip`, `chunks` or `error`. The provider is told by the host.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;

use super::{anthropic, echo::streamed, encode, google, openai};
use crate::server::{Answer, Received, answer, json as json_answer};

/// Answers by the modes above.
///
/// # Panics
/// When its own answer cannot be read.
pub async fn answer_request(mut received: Received) -> Answer {
    let mode = received.seen.header("x-mode").unwrap_or_default().to_owned();
    let said = everything(&received);
    if mode == "error" {
        received.drain().await;
        return json_answer(
            400,
            &json!({ "type": "error", "error": { "type": "invalid_request_error", "code": 400, "message": said,
                "status": "INVALID_ARGUMENT" } }),
        );
    }
    let mut answered = match received.seen.host.as_str() {
        "api.anthropic.com" => anthropic::answer_request(received).await,
        "generativelanguage.googleapis.com" => google::answer_request(received).await,
        _ => openai::answer_request(received).await,
    };
    if mode == "gzip" || mode == "chunks" {
        answered = coded(&mode, answered).await;
    }
    answered.headers_mut().insert("x-echo", said.parse().expect("a header"));
    answered
}

/// Every field of a request, and its target.
pub(super) fn everything(received: &Received) -> String {
    let fields: Vec<String> =
        received.seen.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{} | {}", received.seen.target, fields.join(" | "))
}

async fn coded(mode: &str, answered: Answer) -> Answer {
    let (parts, body) = answered.into_parts();
    let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let whole = body.collect().await.expect("a body of our own").to_bytes();
    if mode == "chunks" {
        let pieces = whole.chunks(7).map(Bytes::copy_from_slice).collect();
        return streamed(kind, pieces, Duration::ZERO);
    }
    let mut zipped = answer(parts.status.as_u16(), kind, encode::gzip(&whole));
    zipped.headers_mut().insert("content-encoding", "gzip".parse().expect("a header"));
    zipped
}
