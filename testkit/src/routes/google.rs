//! The inference endpoints of Google's Gemini API, with scripted words: as [`super::openai`], with `x-goog-api-key`.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    echo::streamed,
    openai::{USAGE, pieces, words},
};
use crate::server::{Answer, Received, json as json_answer};

/// `/v1beta/models/NAME:generateContent`, `:streamGenerateContent`, `:countTokens`, `/v1beta/models`; other paths are 404.
pub async fn answer_request(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let words = words(&received, &body, "x-goog-api-key");
    let call =
        received.path.split_once("/models/").map(|(_, call)| call).and_then(|call| call.split_once(':'));
    match (received.path.as_str(), call) {
        (_, Some((model, "generateContent"))) => json_answer(200, &answer(model, &words, true)),
        (_, Some((model, "streamGenerateContent"))) => {
            let whole = pieces(&words);
            let last = whole.len().saturating_sub(1);
            let values: Vec<Value> =
                whole.iter().enumerate().map(|(at, piece)| answer(model, piece, at == last)).collect();
            if received.query("alt").as_deref() != Some("sse") {
                return json_answer(200, &Value::Array(values));
            }
            let events = values.iter().map(|value| Bytes::from(format!("data: {value}\r\n\r\n"))).collect();
            streamed("text/event-stream", events, Duration::from_millis(1))
        }
        (_, Some((_, "countTokens"))) => json_answer(200, &json!({ "totalTokens": USAGE.0 })),
        ("/v1/models" | "/v1beta/models", _) => json_answer(
            200,
            &json!({ "models": [{ "name": "models/scripted", "supportedGenerationMethods": ["generateContent"] }] }),
        ),
        _ => json_answer(
            404,
            &json!({ "error": { "code": 404, "message": "no such endpoint", "status": "NOT_FOUND" } }),
        ),
    }
}

fn answer(model: &str, words: &str, last: bool) -> Value {
    let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": [{ "text": words }] } });
    if last {
        candidate["finishReason"] = json!("STOP");
    }
    let written = if last { USAGE.1 } else { 1 };
    json!({
        "candidates": [candidate], "modelVersion": model, "responseId": "resp_1",
        "usageMetadata": { "promptTokenCount": USAGE.0, "candidatesTokenCount": written,
            "totalTokenCount": USAGE.0 + written },
    })
}
