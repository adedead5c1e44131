//! The inference endpoints of Amazon Bedrock, with scripted words. What it says is as [`openai`](super::openai) has it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    echo::streamed,
    openai::{USAGE, words},
};
use crate::{
    frames::{chunk, frame},
    server::{Answer, Received, json as json_answer},
};

/// Of what was read, what came out of a cache.
pub const CACHED: u64 = 4;
const EVENTS: &str = "application/vnd.amazon.eventstream";

/// `/model/MODEL/` with `converse`, `invoke`, both streamed, and `count-tokens`; other paths are 404.
pub async fn answer_request(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let words = words(&received, &body, "authorization");
    let path = received.path.strip_prefix("/model/").unwrap_or_default();
    match path.split_once('/').map_or("", |(_, call)| call) {
        "converse" => json_answer(
            200,
            &json!({ "output": { "message": { "role": "assistant", "content": [{ "text": words }] } },
                "stopReason": "end_turn", "usage": usage(), "metrics": { "latencyMs": 1 } }),
        ),
        "converse-stream" => {
            let mut pieces = vec![frame("messageStart", br#"{"role":"assistant","p":"ab"}"#)];
            pieces.extend(halves(&words).into_iter().map(|text| {
                let delta = json!({ "contentBlockIndex": 0, "delta": { "text": text }, "p": "abcd" });
                frame("contentBlockDelta", delta.to_string().as_bytes())
            }));
            pieces.push(frame("contentBlockStop", br#"{"contentBlockIndex":0}"#));
            pieces.push(frame("messageStop", br#"{"stopReason":"end_turn"}"#));
            let last = json!({ "usage": usage(), "metrics": { "latencyMs": 1 } });
            pieces.push(frame("metadata", last.to_string().as_bytes()));
            stream(pieces)
        }
        "invoke" => json_answer(
            200,
            &json!({ "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
                "content": [{ "type": "text", "text": words }],
                "usage": { "input_tokens": USAGE.0, "output_tokens": USAGE.1 } }),
        ),
        "invoke-with-response-stream" => {
            let mut told = vec![json!({ "type": "message_start", "message": { "model": "claude",
                "usage": { "input_tokens": USAGE.0, "output_tokens": 1 } } })];
            told.extend(halves(&words).map(|text| {
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } })
            }));
            told.push(json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics":
                { "inputTokenCount": USAGE.0, "outputTokenCount": USAGE.1 } }));
            stream(told.iter().map(|event| chunk(&event.to_string())).collect())
        }
        "count-tokens" => json_answer(200, &json!({ "inputTokens": USAGE.0 })),
        _ => json_answer(404, &json!({ "message": "no such endpoint" })),
    }
}

fn usage() -> Value {
    json!({ "inputTokens": USAGE.0 - CACHED, "outputTokens": USAGE.1, "totalTokens": USAGE.0 + USAGE.1,
        "cacheReadInputTokens": CACHED, "cacheWriteInputTokens": 0 })
}

fn halves(words: &str) -> [String; 2] {
    let middle = words.char_indices().nth(words.chars().count() / 2).map_or(0, |(at, _)| at);
    let (first, second) = words.split_at(middle);
    [first.to_owned(), second.to_owned()]
}

fn stream(frames: Vec<Vec<u8>>) -> Answer {
    streamed(EVENTS, frames.into_iter().map(Bytes::from).collect(), Duration::from_millis(1))
}
