//! Requests, by example: what becomes of each part, and what is refused by its name.

use serde_json::{Value, json};

use super::{TO_CHAT, Way, refused, sent};
use crate::translate::{
    MOST_TOKENS,
    fates::{self, Fate},
};

const PIXEL: &str = "iVBORw0KGgo=";

fn conversation() -> Value {
    json!({
        "model": "m", "max_tokens": 1024, "stream": true, "temperature": 0.5, "top_p": 0.9,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Be kind."}],
        "stop_sequences": ["\n\nHuman:"], "metadata": {"user_id": "u1"}, "cache_control": {"type": "ephemeral"},
        "thinking": {"type": "enabled", "budget_tokens": 10000},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "tools": [{"name": "get_stock_price", "description": "Get the price.", "input_schema": {"type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "What's the S&P 500 at today?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_stock_price", "input": {"ticker": "^GSPC"}},
                {"type": "tool_use", "id": "toolu_2", "name": "get_stock_price", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "259.75 USD"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [{"type": "text", "text": "no ticker"}]},
                {"type": "text", "text": "And this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://a.test/b.png"}}]},
        ],
    })
}

#[test]
fn messages_become_a_chat() {
    assert_eq!(
        sent(TO_CHAT, &conversation()),
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]},
                {"role": "user", "content": "What's the S&P 500 at today?"},
                {"role": "assistant", "content": "Let me look.", "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "get_stock_price", "arguments": "{\"ticker\":\"^GSPC\"}"}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "get_stock_price", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "259.75 USD"},
                {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: no ticker"},
                {"role": "user", "content": [
                    {"type": "text", "text": "And this?"},
                    {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}")}},
                    {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]},
            ],
            "max_tokens": 1024, "temperature": 0.5, "top_p": 0.9, "stop": ["\n\nHuman:"],
            "tools": [{"type": "function", "function": {"name": "get_stock_price", "description": "Get the price.",
                "parameters": {"type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]}}}],
            "tool_choice": "auto", "parallel_tool_calls": false, "reasoning_effort": "medium", "user": "u1",
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn a_chat_becomes_messages() {
    let request = json!({
        "model": "m", "temperature": 1, "top_p": 0.9, "stop": "END", "n": 1, "logprobs": false, "user": "u1",
        "reasoning_effort": "high", "stream": true, "stream_options": {"include_usage": true}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object", "properties": {}}}}, {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}"), "detail": "auto"}}]},
            {"role": "assistant", "content": "", "refusal": null, "annotations": [], "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{ \"a\": 1.50 }"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "Thanks"},
            {"role": "assistant", "content": "Welcome"},
            {"role": "system", "content": "Be brisk."},
            {"role": "user", "content": "Go on"},
        ],
    });
    assert_eq!(
        sent(Way::ChatToMessages, &request),
        json!({
            "model": "m", "max_tokens": MOST_TOKENS.parse::<u32>().unwrap(),
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1.5}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
                    {"type": "text", "text": "Thanks"}]},
                {"role": "assistant", "content": "Welcome"},
                {"role": "system", "content": "Be brisk."},
                {"role": "user", "content": "Go on"},
            ],
            "temperature": 1, "top_p": 0.9, "stop_sequences": ["END"], "metadata": {"user_id": "u1"},
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": true}, {"name": "g", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            "stream": true,
        })
    );
}

#[test]
fn what_is_passed_on_keeps_its_bytes() {
    let body = r#"{"max_tokens":16,"model":"m","tools":[{"input_schema":{ "b":1e2, "a":"\ud83d\u0041" },"name":"f"}],
        "messages":[{"content":"caf\u00e9 \ud800","role":"user"}]}"#;
    let sent = TO_CHAT.request(body.as_bytes()).unwrap().body;
    for kept in [r#""parameters":{ "b":1e2, "a":"\ud83d\u0041" }"#, r#""content":"caf\u00e9 \ud800""#] {
        assert!(sent.contains(kept), "{sent}");
    }
    let arguments = Way::ChatToMessages.request(
        br#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{ \"b\":1e2,\"a\":12345678901234567890123 }"}}]}]}"#,
    );
    let sent = arguments.unwrap().body;
    assert!(sent.contains(r#""input":{ "b":1e2,"a":12345678901234567890123 }"#), "{sent}");
}

#[test]
fn every_choice_of_tools() {
    let chat = |choice: Value| {
        let mut request = conversation();
        request["tool_choice"] = choice;
        let sent = sent(TO_CHAT, &request);
        (sent["tool_choice"].clone(), sent["parallel_tool_calls"].clone())
    };
    assert_eq!(chat(json!({"type": "any"})), (json!("required"), Value::Null));
    assert_eq!(chat(json!({"type": "none"})), (json!("none"), Value::Null));
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(
        chat(json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true})),
        (named, json!(false))
    );
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let messages = |choice: Value, parallel: Value| {
        let request = json!({"model": "m", "messages": [], "tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel});
        sent(Way::ChatToMessages, &request)["tool_choice"].clone()
    };
    let one = json!(false);
    assert_eq!(messages(Value::Null, Value::Null), Value::Null);
    assert_eq!(
        messages(Value::Null, one.clone()),
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(messages(json!("required"), json!(true)), json!({"type": "any"}));
    assert_eq!(messages(json!("none"), one), json!({"type": "none"}));
}

#[test]
fn efforts_and_limits() {
    let with = |key: &str, value: Value| {
        let mut request =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        request[key] = value;
        request
    };
    for (budget, effort) in
        [(1024, "low"), (4096, "low"), (4097, "medium"), (16384, "medium"), (32000, "high")]
    {
        let request = with("thinking", json!({"type": "enabled", "budget_tokens": budget}));
        assert_eq!(sent(TO_CHAT, &request)["reasoning_effort"], effort);
    }
    let xhigh =
        with("output_config", json!({"effort": "xhigh", "format": {"type": "json_schema", "schema": {}}}));
    let chat = sent(TO_CHAT, &xhigh);
    assert_eq!(chat["reasoning_effort"], "xhigh");
    assert_eq!(
        chat["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {}, "strict": true}})
    );
    let none = sent(Way::ChatToMessages, &with("reasoning_effort", json!("none")));
    assert_eq!(
        (none["thinking"].clone(), none["max_tokens"].clone()),
        (json!({"type": "disabled"}), json!(9))
    );
    let new = Way::MessagesToChat { most_tokens: "max_completion_tokens", asks_usage: false };
    let chat = sent(new, &with("stream", json!(true)));
    assert_eq!(
        (chat["max_completion_tokens"].clone(), chat["stream_options"].clone()),
        (json!(9), Value::Null)
    );
}

/// What is refused, and what the message has to name.
fn each_refusal(way: Way, base: &Value, refusals: &[(Value, &str)]) {
    sent(way, base);
    for (with, named) in refusals {
        let mut request = base.clone();
        for (key, value) in with.as_object().unwrap() {
            request[key] = value.clone();
        }
        let said = refused(way, &request);
        assert!(said.starts_with(&format!("`{named}`")) && !said.contains('\n'), "{said}");
    }
}

#[test]
fn what_a_chat_cannot_say_is_refused_by_name() {
    let base = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let turn = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let said = |content: Value| json!({"messages": [{"role": "assistant", "content": content}, {"role": "user", "content": "x"}]});
    each_refusal(
        TO_CHAT,
        &base,
        &[
            (json!({"top_k": 5}), "top_k"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"service_tier": "standard_only"}), "service_tier"),
            (
                json!({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]}}),
                "context_management.edits[1].type",
            ),
            (json!({"context_management": {"edits": [], "more": 1}}), "context_management.more"),
            (json!({"metadata": {"user_id": "x", "team": "y"}}), "metadata.team"),
            (json!({"thinking": {"type": "between_tools"}}), "thinking.type"),
            (json!({"output_config": {"task_budget": {}}}), "output_config.task_budget"),
            (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0].type"),
            (
                json!({"tools": [{"name": "f", "input_schema": {}, "defer_loading": true}]}),
                "tools[0].defer_loading",
            ),
            (
                json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "The"}]}),
                "messages[1]",
            ),
            (turn(json!([{"type": "document", "source": {}}])), "messages[0].content[0].type"),
            (
                turn(json!([{"type": "image", "source": {"type": "file", "file_id": "f"}}])),
                "messages[0].content[0].source.type",
            ),
            (
                turn(json!([{"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "t"}])),
                "messages[0].content[1]",
            ),
            (
                turn(
                    json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {}}]}]),
                ),
                "messages[0].content[0].content[0].type",
            ),
            (
                said(
                    json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "text", "text": "x"}]),
                ),
                "messages[0].content[1]",
            ),
            (
                said(
                    json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code_execution_20250825", "tool_id": "x"}}]),
                ),
                "messages[0].content[0].caller",
            ),
            (
                said(json!([{"type": "server_tool_use", "id": "t", "name": "f", "input": {}}])),
                "messages[0].content[0].type",
            ),
        ],
    );
}

#[test]
fn what_messages_cannot_say_is_refused_by_name() {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let turn = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let call = |call: Value| json!({"messages": [{"role": "assistant", "tool_calls": [call]}]});
    each_refusal(
        Way::ChatToMessages,
        &base,
        &[
            (json!({"n": 2}), "n"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"temperature": 1.1}), "temperature"),
            (json!({"seed": 1}), "seed"),
            (json!({"presence_penalty": 0.5}), "presence_penalty"),
            (json!({"store": true}), "store"),
            (json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_tokens"),
            (json!({"user": "a", "safety_identifier": "b"}), "user"),
            (json!({"reasoning_effort": "minimal"}), "reasoning_effort"),
            (json!({"response_format": {"type": "json_object"}}), "response_format.type"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "description": "d"}}}),
                "response_format.json_schema.description",
            ),
            (json!({"stream_options": {"include_obfuscation": true}}), "stream_options.include_obfuscation"),
            (json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}), "tools[0].type"),
            (json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}), "tool_choice.type"),
            (json!({"messages": [{"role": "user", "content": "x", "name": "bob"}]}), "messages[0].name"),
            (json!({"messages": [{"role": "function", "content": "x", "name": "f"}]}), "messages[0].role"),
            (turn(json!([{"type": "input_audio", "input_audio": {}}])), "messages[0].content[0].type"),
            (
                turn(json!([{"type": "image_url", "image_url": {"url": "https://a.test", "detail": "low"}}])),
                "messages[0].content[0].image_url.detail",
            ),
            (
                turn(json!([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}}])),
                "messages[0].content[0].image_url.url",
            ),
            (call(json!({"id": "c", "type": "custom", "custom": {}})), "messages[0].tool_calls[0].type"),
            (
                call(json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}})),
                "messages[0].tool_calls[0].function.arguments",
            ),
        ],
    );
}

#[test]
fn what_is_said_twice_or_is_no_object_is_refused() {
    let said = |body: &str| Way::ChatToMessages.request(body.as_bytes()).unwrap_err().to_string();
    assert_eq!(said(r#"{"model":"a","\u006dodel":"b"}"#), "the body has `model` more than once");
    assert_eq!(
        said(r#"{"model":"a","messages":[{"role":"user","role":"tool"}]}"#),
        "the body has `messages[0].role` more than once"
    );
    assert!(said("[]").contains("is not a JSON object") && said("{").contains("is not a JSON object"));
    assert!(said(&format!("\"{}\"", "x".repeat(5000))).len() < 100);
    assert_eq!(said(r#"{"messages":[]}"#), "`model` is missing");
    let long = said(&format!(r#"{{"model":"a","messages":[],"{}\n":1}}"#, "x".repeat(5000)));
    assert!(long.len() < 300 && !long.contains('\n'), "{long}");
}

#[test]
fn the_tables_say_why() {
    for field in fates::MESSAGES.iter().chain(fates::CHAT) {
        match field.fate {
            Fate::Carried => {}
            Fate::Ignored(why) | Fate::Refused { why, .. } => assert!(why.len() > 8, "{}", field.name),
        }
    }
}
