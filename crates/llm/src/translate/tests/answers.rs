//! Whole answers and errors, by example.

use http::StatusCode;
use serde_json::{Value, json};

use super::TO_CHAT;
use crate::translate::{Answers, Api};

fn told(asker: Api, status: u16, body: &Value) -> (u16, Value) {
    let answer = Answers::to(asker).whole(
        StatusCode::from_u16(status).unwrap(),
        body.to_string().as_bytes(),
        1_700_000_000,
    );
    (answer.status.as_u16(), serde_json::from_str(&answer.body).unwrap())
}

fn completion() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m", "system_fingerprint": "x",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Let me look.", "refusal": null,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 5}}})
}

fn message() -> Value {
    json!({"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 60, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 5}}})
}

#[test]
fn an_answer_is_told_both_ways() {
    assert_eq!(told(Api::Messages, 200, &completion()), (200, message()));
    let (status, mut back) = told(Api::Chat, 200, &message());
    back["system_fingerprint"] = json!("x");
    assert_eq!((status, back), (200, completion()));
}

#[test]
fn every_reason_to_stop() {
    let finish = |finish: &str| {
        let mut said = completion();
        said["choices"][0]["finish_reason"] = json!(finish);
        said["choices"][0]["message"]["tool_calls"] = Value::Null;
        told(Api::Messages, 200, &said)
    };
    for (said, reason) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("model_length", "max_tokens"),
    ] {
        assert_eq!(finish(said).1["stop_reason"], reason);
    }
    assert_eq!(finish("function_call").0, 502);
    let mut sequence = completion();
    sequence["choices"][0] =
        json!({"message": {"content": "a"}, "finish_reason": "stop", "stop_reason": "END"});
    let told_of = told(Api::Messages, 200, &sequence).1;
    assert_eq!(
        (&told_of["stop_reason"], &told_of["stop_sequence"]),
        (&json!("stop_sequence"), &json!("END"))
    );
    let stop = |stop: &str| {
        let mut said = message();
        said["stop_reason"] = json!(stop);
        told(Api::Chat, 200, &said)
    };
    for (said, finish) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        assert_eq!(stop(said).1["choices"][0]["finish_reason"], finish);
    }
    let (status, said) = stop("pause_turn");
    assert!(
        status == 502 && said["error"]["message"].as_str().unwrap().contains("stop_reason: pause_turn"),
        "{said}"
    );
}

#[test]
fn thoughts_are_shown_to_those_who_want_them() {
    let request = |thinking: Value| {
        let request = json!({"model": "m", "max_tokens": 9, "messages": [], "thinking": thinking});
        TO_CHAT.request(request.to_string().as_bytes()).unwrap().answers
    };
    let mut said = completion();
    said["choices"][0]["message"]["reasoning_content"] = json!("hm");
    said["choices"][0]["message"]["reasoning"] = json!("hm");
    let first = |answers: Answers| {
        let answer = answers.whole(StatusCode::OK, said.to_string().as_bytes(), 0);
        serde_json::from_str::<Value>(&answer.body).unwrap()["content"][0].clone()
    };
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    assert_eq!(first(request(json!({"type": "adaptive"}))), thought);
    let text = json!({"type": "text", "text": "Let me look."});
    assert_eq!(first(request(json!({"type": "adaptive", "display": "omitted"}))), text);
    assert_eq!(first(request(json!({"type": "disabled"}))), text);
    let mut thought = message();
    thought["content"] = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}]);
    assert_eq!(told(Api::Chat, 200, &thought).1["choices"][0]["message"]["content"], "a");
}

#[test]
fn what_cannot_be_told_is_an_error_of_the_askers() {
    let (status, said) = told(Api::Messages, 200, &json!({"choices": []}));
    assert_eq!((status, &said["type"], &said["error"]["type"]), (502, &json!("error"), &json!("api_error")));
    let mut arguments = completion();
    arguments["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = json!("{\"a\":");
    assert_eq!(told(Api::Messages, 200, &arguments).0, 502);
    let mut block = message();
    block["content"][0]["type"] = json!("server_tool_use");
    let (status, said) = told(Api::Chat, 200, &block);
    assert_eq!((status, &said["error"]["type"]), (502, &json!("server_error")));
    let html = Answers::to(Api::Chat).whole(StatusCode::OK, b"<html>", 0);
    assert_eq!(html.status, 502);
    let long = json!({"choices": "x".repeat(5000)});
    let (status, said) = told(Api::Messages, 200, &long);
    assert!(status == 502 && said.to_string().len() < 400, "{said}");
}

#[test]
fn errors_have_the_askers_shape() {
    let openai = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    let anthropic =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    assert_eq!(
        told(Api::Messages, 400, &openai),
        (400, anthropic("invalid_request_error", "too long (context_length_exceeded)"))
    );
    assert_eq!(
        told(Api::Messages, 422, &json!({"detail": "no"})).1,
        anthropic("invalid_request_error", "no")
    );
    assert_eq!(
        told(Api::Messages, 404, &json!({"object": "error", "message": "no"})).1,
        anthropic("not_found_error", "no")
    );
    assert_eq!(
        told(Api::Messages, 500, &json!("?")).1,
        anthropic("api_error", "the backend answered 500 Internal Server Error")
    );
    let (status, said) = told(Api::Chat, 529, &anthropic("overloaded_error", "Overloaded"));
    let error = json!({"message": "Overloaded", "type": "server_error", "param": null, "code": "overloaded"});
    assert_eq!((status, said), (529, json!({"error": error})));
    for (status, kind, other) in [
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (413, "request_too_large", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (504, "timeout_error", "server_error"),
    ] {
        assert_eq!(told(Api::Messages, status, &openai).1["error"]["type"], kind);
        assert_eq!(told(Api::Chat, status, &anthropic(kind, "x")).1["error"]["type"], other);
    }
}
