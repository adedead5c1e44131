//! A scripted model of either conversation API. What it does is in the model's name: `tools` calls two, `thoughts`
//! thinks first, `parsed` says JSON, `limit` and `gone` refuse, `broken` tells an error in the middle of its stream,
//! `cut` ends too early. Any other says its words; all do once they have the result of a tool.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    echo::streamed,
    openai::{pieces, words},
};
use crate::server::{Answer, Received, answer};

/// What a tool is expected to have answered.
pub const RESULT: &str = "22 degrees";

/// `/v1/chat/completions`, whatever the path.
pub async fn answer_chat(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let words = words(&received, &body, "authorization");
    told(chat(&body, &words), &body)
}

/// `/v1/messages`, whatever the path.
pub async fn answer_messages(mut received: Received) -> Answer {
    let body: Value = serde_json::from_slice(&received.body().await).unwrap_or(Value::Null);
    let words = words(&received, &body, "x-api-key");
    told(messages(&body, &words), &body)
}

fn told((status, text): (u16, String), body: &Value) -> Answer {
    if status != 200 || body["stream"] != true {
        return answer(status, "application/json", text);
    }
    let events = text.split_inclusive("\n\n").map(|event| Bytes::from(event.to_owned())).collect();
    streamed("text/event-stream", events, Duration::from_millis(1))
}

fn script(request: &Value) -> (&str, bool) {
    let after = request["messages"].to_string().contains(RESULT);
    let script = if after { "plain" } else { request["model"].as_str().unwrap_or_default() };
    (script, request["stream"] == true)
}

/// A chat completion, or the events of one.
#[must_use]
pub fn chat(request: &Value, said: &str) -> (u16, String) {
    let (script, stream) = script(request);
    let error = |message: &str, kind: &str| json!({"error": {"message": message, "type": kind, "param": null, "code": null}});
    match script {
        "limit" => return (429, error("slow down", "requests").to_string()),
        "gone" => return (404, error("no such model", "invalid_request_error").to_string()),
        _ => {}
    }
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 3}});
    let call = |index: u64, name: &str, arguments: &str| json!({"index": index, "id": format!("c{}", index + 1), "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = json!([call(0, "f", "{\"city\": \"Bern\"}"), call(1, "g", "")]);
    let (words, finish) = match script {
        "tools" => (Value::Null, "tool_calls"),
        "parsed" => (json!("{\"city\": \"Bern\"}"), "stop"),
        _ => (json!(said), "stop"),
    };
    let thought = if script == "thoughts" { json!("hm") } else { Value::Null };
    let head = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"});
    if !stream {
        let mut said = head;
        let mut message = json!({"role": "assistant", "content": words, "reasoning_content": thought});
        if script == "tools" {
            message["tool_calls"] = calls;
        }
        said["choices"] = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        said["usage"] = usage;
        return (200, said.to_string());
    }
    let mut events = Vec::new();
    let mut tell = |choices: Value, usage: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = choices;
        chunk["usage"] = usage;
        events.push(format!("data: {chunk}\n\n"));
    };
    let delta = |delta: Value| json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    tell(delta(json!({"role": "assistant", "content": ""})), Value::Null);
    if script == "tools" {
        for (index, name, pieces) in [(0, "f", &["{\"city\"", ": \"Bern\"}"][..]), (1, "g", &[][..])] {
            tell(delta(json!({"tool_calls": [call(index, name, "")]})), Value::Null);
            for piece in pieces {
                let call = json!({"index": index, "function": {"arguments": piece}});
                tell(delta(json!({"tool_calls": [call]})), Value::Null);
            }
        }
    } else {
        for piece in pieces(said) {
            tell(delta(json!({"content": piece})), Value::Null);
        }
    }
    match script {
        "broken" => {
            events.push(format!("data: {}\n\n", error("server overloaded", "server_error")));
            return (200, events.concat());
        }
        "cut" => return (200, events.concat()),
        _ => {}
    }
    tell(json!([{"index": 0, "delta": {}, "finish_reason": finish}]), Value::Null);
    tell(json!([]), usage);
    events.push("data: [DONE]\n\n".to_owned());
    (200, events.concat())
}

/// A message, or the events of one.
#[must_use]
pub fn messages(request: &Value, said: &str) -> (u16, String) {
    let (script, stream) = script(request);
    let error =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    match script {
        "limit" => return (429, error("rate_limit_error", "slow down").to_string()),
        "gone" => return (404, error("not_found_error", "no such model").to_string()),
        _ => {}
    }
    let text = if script == "parsed" { "{\"city\": \"Bern\"}" } else { said };
    let (content, stop) = match script {
        "tools" => (
            json!([{"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]),
            "tool_use",
        ),
        _ => (json!([{"type": "text", "text": text}]), "end_turn"),
    };
    let usage = json!({"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 7});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": usage});
    if !stream {
        // Spaces as the server writes them are the function's own.
        return (200, message.to_string().replace("{\"city\":\"Bern\"}", "{\"city\": \"Bern\"}"));
    }
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = json!(1);
    let mut events = vec![json!({"type": "message_start", "message": start}), json!({"type": "ping"})];
    if script == "tools" {
        for (index, id, name, pieces) in
            [(0, "t1", "f", &["", "{\"city\"", ": \"Bern\"}"][..]), (1, "t2", "g", &[""][..])]
        {
            events.push(json!({"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}}));
            for piece in pieces {
                events.push(json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}));
            }
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
    } else {
        events.push(
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        );
        for piece in pieces(said) {
            events.push(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}));
        }
        events.push(json!({"type": "content_block_stop", "index": 0}));
    }
    match script {
        "broken" => events.push(error("overloaded_error", "Overloaded")),
        "cut" => {}
        _ => {
            events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 7}}));
            events.push(json!({"type": "message_stop"}));
        }
    }
    let named = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()));
    (200, named.collect())
}
