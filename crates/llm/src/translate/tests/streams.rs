//! Streams, by example, cut in every way and broken off in every place.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::TO_CHAT;
use crate::translate::{Answers, Api, Way};

pub(super) fn answers(asker: Api) -> Answers {
    let request = match asker {
        Api::Messages => {
            json!({"model": "m", "max_tokens": 9, "messages": [], "stream": true, "thinking": {"type": "adaptive"}})
        }
        Api::Chat => {
            json!({"model": "m", "messages": [], "stream": true, "stream_options": {"include_usage": true}})
        }
    };
    let way = if asker == Api::Messages { TO_CHAT } else { Way::ChatToMessages };
    way.request(request.to_string().as_bytes()).unwrap().answers
}

pub(super) fn cut(answers: Answers, pieces: &[&[u8]]) -> String {
    let mut stream = answers.stream(1_700_000_000);
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| stream.push(piece)).collect();
    out.extend(stream.finish());
    String::from_utf8(out).unwrap()
}

fn chunk(choice: Value) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

fn delta(delta: Value) -> String {
    chunk(json!({"index": 0, "delta": delta, "finish_reason": null}))
}

pub(super) fn chat() -> String {
    let call = |call: Value| delta(json!({"tool_calls": [call]}));
    [
        ": PROCESSING\n\n".to_owned(),
        delta(json!({"role": "assistant", "content": "", "reasoning_content": null})),
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"content": "Let me "})),
        delta(json!({"content": "look é."})),
        call(json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(json!({"index": 0, "function": {"arguments": "{\"a\""}})),
        call(json!({"index": 0, "function": {"arguments": ":1}"}})),
        call(json!({"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
        chunk(json!({"index": 0, "delta": {}, "finish_reason": "tool_calls"})),
        format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 1}}})),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

pub(super) fn messages() -> String {
    let events = [
        json!({"type": "message_start", "message": {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": null, "usage": {"input_tokens": 10, "cache_read_input_tokens": 1, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Let me look é."}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":1}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t2", "name": "g", "input": {}}}),
        json!({"type": "content_block_stop", "index": 3}),
        json!({"type": "of_tomorrow"}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

#[test]
fn chunks_become_the_events_of_a_message() {
    let told = cut(answers(Api::Messages), &[chat().as_bytes()]);
    let events = events(&told);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let text = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"];
    let wanted =
        [&["ping", "message_start"][..], &block, &text, &text, &block, &["message_delta", "message_stop"]];
    assert_eq!(kinds, wanted.concat());
    let named = told.lines().filter_map(|line| line.strip_prefix("event: "));
    assert_eq!(named.collect::<Vec<_>>(), kinds);
    assert_eq!(events[1]["message"]["usage"]["input_tokens"], 0);
    assert_eq!(events[2]["content_block"], json!({"type": "thinking", "thinking": "", "signature": ""}));
    assert_eq!(events[9]["content_block"], json!({"type": "tool_use", "id": "c1", "name": "f", "input": {}}));
    assert_eq!(events[11]["delta"], json!({"type": "input_json_delta", "partial_json": ":1}"}));
    assert_eq!(
        events[14],
        json!({"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}})
    );
    assert_eq!(
        events[16],
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1, "output_tokens": 7}})
    );
}

#[test]
fn the_events_of_a_message_become_chunks() {
    let told = cut(answers(Api::Chat), &[messages().as_bytes()]);
    let events = events(&told);
    assert!(told.contains(": ping\n\n") && told.ends_with("data: [DONE]\n\n"), "{told}");
    let deltas: Vec<Value> =
        events.iter().take(8).map(|event| event["choices"][0]["delta"].clone()).collect();
    let call = |call: Value| json!({"tool_calls": [call]});
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": "", "refusal": null}),
            json!({"content": "Let me look é."}),
            call(
                json!({"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}})
            ),
            call(json!({"index": 0, "function": {"arguments": "{\"a\":1}"}})),
            call(
                json!({"index": 1, "id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}})
            ),
            call(json!({"index": 1, "function": {"arguments": "{}"}})),
            json!({}),
            Value::Null,
        ]
    );
    assert_eq!(events[6]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(events[6]["usage"], Value::Null);
    assert_eq!(events[7]["choices"], json!([]));
    assert_eq!(
        events[7]["usage"],
        json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0}})
    );
    let unasked = Answers { include_usage: false, ..answers(Api::Chat) };
    let told = cut(unasked, &[messages().as_bytes()]);
    assert!(!told.contains("usage") && told.ends_with("data: [DONE]\n\n"), "{told}");
}

#[test]
fn what_breaks_off_is_never_a_clean_end() {
    for (asker, whole, end) in [(Api::Messages, chat(), "message_stop"), (Api::Chat, messages(), "[DONE]")] {
        let ends = whole.len() - 1;
        for length in 0..ends {
            let told = cut(answers(asker), &[&whole.as_bytes()[..length]]);
            let last = events(&told).pop().unwrap();
            assert!(last["error"]["message"].as_str().unwrap().contains("before its end"), "{told}");
            assert!(!told.contains(end), "{told}");
        }
        assert!(cut(answers(asker), &[whole.as_bytes()]).contains(end));
    }
    // A last event without what makes it one.
    let stopped =
        "data: {\"type\":\"message_start\",\"message\":{}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    assert!(!cut(answers(Api::Chat), &[stopped.as_bytes()]).contains("[DONE]"));
    assert!(!cut(answers(Api::Messages), &[b"data: [DONE]\n\n"]).contains("message_stop"));
}

#[test]
fn errors_in_a_stream_are_told_and_end_it() {
    let error =
        "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"code\":429}}\n\n";
    let told = cut(
        answers(Api::Messages),
        &[chat().replace("data: [DONE]\n\n", error).as_bytes(), chat().as_bytes()],
    );
    let last = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n";
    assert!(told.ends_with(last), "{told}");
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let told = cut(answers(Api::Chat), &[error.as_bytes(), messages().as_bytes()]);
    assert_eq!(
        told,
        "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}\n\n"
    );
    for (asker, bad) in [
        (Api::Messages, "data: {\n\n".to_owned()),
        (Api::Messages, chunk(json!({"index": 1, "delta": {"content": "x"}}))),
        (Api::Messages, delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}))),
        (Api::Messages, delta(json!({"function_call": {"name": "f"}}))),
        (
            Api::Chat,
            "data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"server_tool_use\"}}\n\n"
                .to_owned(),
        ),
        (
            Api::Chat,
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"of_tomorrow\"}}\n\n".to_owned(),
        ),
    ] {
        let told = cut(answers(asker), &[bad.as_bytes(), chat().as_bytes()]);
        let last = events(&told).pop().unwrap();
        assert!(last["error"]["message"].is_string(), "{told}");
    }
}

#[test]
fn calls_without_an_index_and_calls_that_are_mixed() {
    let call = |call: Value| delta(json!({"tool_calls": [call]}));
    let whole = |id: &str| call(json!({"id": id, "function": {"name": "f", "arguments": "{}"}}));
    let told = cut(answers(Api::Messages), &[(whole("a") + &whole("b")).as_bytes()]);
    assert_eq!(told.matches("\"content_block_start\"").count(), 2, "{told}");
    let with =
        |index: u64| call(json!({"index": index, "id": "x", "function": {"name": "f", "arguments": "{"}}));
    let told = cut(answers(Api::Messages), &[(with(0) + &with(1) + &with(0)).as_bytes()]);
    assert!(told.contains("pieces of a call after another had begun"), "{told}");
}

#[test]
fn an_event_without_an_end_is_not_held_for_ever() {
    let mut stream = answers(Api::Messages).stream(0);
    let piece = vec![b'x'; 1 << 20];
    stream.push(b"data: ");
    let told: Vec<_> = (0..40).map(|_| stream.push(&piece)).filter(|told| !told.is_empty()).collect();
    assert!(told.len() == 1 && told[0].starts_with(b"event: error"), "{told:?}");
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_is_told(
        cuts in prop::collection::vec(1..200usize, 1..60),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        of_chat: bool,
    ) {
        let (asker, whole) = if of_chat { (Api::Messages, chat()) } else { (Api::Chat, messages()) };
        let whole = whole.replace('\n', end);
        let (mut rest, mut pieces) = (whole.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() { break }
        }
        let plain = if of_chat { chat() } else { messages() };
        prop_assert_eq!(cut(answers(asker), &pieces), cut(answers(asker), &[plain.as_bytes()]));
    }

    #[test]
    fn no_bytes_make_it_panic_or_end_well(bytes: Vec<u8>, data in "\\PC{0,80}", of_chat: bool) {
        let asker = if of_chat { Api::Messages } else { Api::Chat };
        let line = format!("data: {data}\n\n");
        let told = cut(answers(asker), &[&bytes, line.as_bytes()]);
        prop_assert!(told.contains("\"error\""), "{}", told);
    }
}
