//! The inference endpoints of an OpenAI-compatible provider, with scripted words.
//!
//! The words are the header `authorization` when the last message is `what key do you see?`, else a fixed
//! greeting, so that a test can see what arrived and that nothing of it comes back.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::echo::streamed;
use crate::server::{Answer, Received, json as json_answer};

/// Asks the scripted model to repeat its key.
pub const ECHO_PROMPT: &str = "what key do you see?";
/// What it says otherwise.
pub const GREETING: &str = "Hello from the scripted model.";
/// The usage that every answer reports.
pub const USAGE: (u64, u64) = (11, 7);

/// `/v1/models`, `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`; other paths are 404.
pub async fn answer_request(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let streaming = body["stream"].as_bool().unwrap_or(false);
    let words = words(&received, &body, "authorization");
    let model = body["model"].as_str().unwrap_or("scripted").to_owned();
    match (received.path.as_str(), streaming) {
        ("/v1/models", _) => {
            json_answer(200, &json!({ "object": "list", "data": [{ "id": "scripted", "object": "model" }] }))
        }
        ("/v1/chat/completions", false) => json_answer(200, &chat(&model, &words)),
        ("/v1/chat/completions", true) => chat_stream(&model, &words, &body),
        ("/v1/responses", false) => json_answer(200, &response(&model, &words, "completed")),
        ("/v1/responses", true) => response_stream(&model, &words),
        ("/v1/embeddings", _) => json_answer(
            200,
            &json!({ "object": "list", "model": model, "usage": { "prompt_tokens": USAGE.0, "total_tokens": USAGE.0 },
                "data": [{ "object": "embedding", "index": 0, "embedding": [0.1, 0.2] }] }),
        ),
        _ => json_answer(404, &json!({ "error": { "message": "no such endpoint", "type": "not_found" } })),
    }
}

/// What the model says; everything it was sent to who asks for that with `x-mode`.
pub(super) fn words(received: &Received, body: &Value, header: &str) -> String {
    if received.seen.header("x-mode").is_some() {
        return super::hostile::everything(received);
    }
    if body.to_string().contains(ECHO_PROMPT) {
        return format!("I see {}", received.seen.header(header).unwrap_or("no key"));
    }
    GREETING.to_owned()
}

fn chat(model: &str, words: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model,
        "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": words } }],
        "usage": { "prompt_tokens": USAGE.0, "completion_tokens": USAGE.1, "total_tokens": USAGE.0 + USAGE.1 },
    })
}

fn chat_stream(model: &str, words: &str, body: &Value) -> Answer {
    let chunk = |delta: Value, finish: Value| {
        json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] })
    };
    let mut values = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
    values.extend(pieces(words).into_iter().map(|piece| chunk(json!({ "content": piece }), Value::Null)));
    values.push(chunk(json!({}), json!("stop")));
    if body["stream_options"]["include_usage"].as_bool().unwrap_or(false) {
        let mut last = chunk(json!({}), Value::Null);
        last["choices"] = json!([]);
        last["usage"] = json!({ "prompt_tokens": USAGE.0, "completion_tokens": USAGE.1, "total_tokens": USAGE.0 + USAGE.1 });
        values.push(last);
    }
    let mut events: Vec<Bytes> =
        values.iter().map(|value| Bytes::from(format!("data: {value}\n\n"))).collect();
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    streamed("text/event-stream", events, Duration::from_millis(1))
}

fn response(model: &str, words: &str, status: &str) -> Value {
    let output = if status == "completed" {
        json!([{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": words, "annotations": [] }] }])
    } else {
        json!([])
    };
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status, "model": model,
        "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
        "usage": { "input_tokens": USAGE.0, "output_tokens": USAGE.1, "total_tokens": USAGE.0 + USAGE.1,
            "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 } },
    })
}

fn response_stream(model: &str, words: &str) -> Answer {
    let item = |status: &str, content: Value| json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content });
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    let place = |value: Value| {
        let mut value = value;
        value["item_id"] = json!("msg_1");
        value["output_index"] = json!(0);
        value["content_index"] = json!(0);
        value
    };
    let mut events = vec![
        json!({ "type": "response.created", "response": response(model, "", "in_progress") }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([])) }),
        place(json!({ "type": "response.content_part.added", "part": part("") })),
    ];
    events.extend(
        pieces(words)
            .iter()
            .map(|piece| place(json!({ "type": "response.output_text.delta", "delta": piece }))),
    );
    events.extend([
        place(json!({ "type": "response.output_text.done", "text": words })),
        place(json!({ "type": "response.content_part.done", "part": part(words) })),
        json!({ "type": "response.output_item.done", "output_index": 0,
            "item": item("completed", json!([part(words)])) }),
        json!({ "type": "response.completed", "response": response(model, words, "completed") }),
    ]);
    named_events(events)
}

/// Events whose `type` is their name too, numbered.
pub(super) fn named_events(events: Vec<Value>) -> Answer {
    let lines = events.into_iter().enumerate().map(|(number, mut event)| {
        if event["type"].as_str().is_some_and(|name| name.starts_with("response.")) {
            event["sequence_number"] = json!(number);
        }
        Bytes::from(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    });
    streamed("text/event-stream", lines.collect(), Duration::from_millis(1))
}

/// The words in pieces that cut everything long, a key included, in two.
pub(super) fn pieces(words: &str) -> Vec<String> {
    let letters: Vec<char> = words.chars().collect();
    letters.chunks(7).map(|piece| piece.iter().collect()).collect()
}
