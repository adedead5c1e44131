//! The inference endpoints of Anthropic's API, with scripted words: as [`super::openai`], with `x-api-key`.

use serde_json::{Value, json};

use super::openai::{USAGE, named_events, pieces, words};
use crate::server::{Answer, Received, json as json_answer};

/// `/v1/messages`, `/v1/messages/count_tokens`, `/v1/models`; other paths are 404.
pub async fn answer_request(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let streaming = body["stream"].as_bool().unwrap_or(false);
    let words = words(&received, &body, "x-api-key");
    let model = body["model"].as_str().unwrap_or("scripted").to_owned();
    match (received.path.as_str(), streaming) {
        ("/v1/messages", false) => json_answer(200, &message(&model, &words)),
        ("/v1/messages", true) => message_stream(&model, &words),
        ("/v1/messages/count_tokens", _) => json_answer(200, &json!({ "input_tokens": USAGE.0 })),
        ("/v1/models", _) => json_answer(
            200,
            &json!({ "data": [{ "type": "model", "id": "scripted", "display_name": "Scripted",
                "created_at": "2026-01-01T00:00:00Z" }], "has_more": false, "first_id": "scripted", "last_id": "scripted" }),
        ),
        _ => json_answer(
            404,
            &json!({ "type": "error", "error": { "type": "not_found_error", "message": "no such endpoint" } }),
        ),
    }
}

fn message(model: &str, words: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model,
        "content": [{ "type": "text", "text": words }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": USAGE.0, "output_tokens": USAGE.1 },
    })
}

fn message_stream(model: &str, words: &str) -> Answer {
    let mut start = message(model, "");
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = json!(1);
    let mut events = vec![
        json!({ "type": "message_start", "message": start }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "ping" }),
    ];
    events.extend(pieces(words).iter().map(|piece| {
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": piece } })
    }));
    events.extend([
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "usage": { "output_tokens": USAGE.1 } }),
        json!({ "type": "message_stop" }),
    ]);
    named_events(events)
}
