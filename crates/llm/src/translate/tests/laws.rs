//! There and back again is where one was; and nothing that is not known gets through.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{TO_CHAT, Way, refused, sent};
use crate::translate::{Answers, Api};

fn words() -> impl Strategy<Value = String> {
    "[ a-z\\\\\"\n\u{e9}\u{1f600}]{1,12}"
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z]{1,4}", words(), 0..3).prop_map(|map| json!(map))
}

fn image() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="})),
        "[a-z]{1,5}".prop_map(|name| json!({"type": "url", "url": format!("https://a.test/{name}?x=1")})),
    ]
    .prop_map(|source| json!({"type": "image", "source": source}))
}

fn text_block() -> impl Strategy<Value = Value> {
    words().prop_map(|text| json!({"type": "text", "text": text}))
}

/// In the form that a translation gives: one text alone is a string.
fn user() -> impl Strategy<Value = Value> {
    prop_oneof![
        words().prop_map(Value::String),
        (image(), prop::collection::vec(prop_oneof![image(), text_block()], 0..3))
            .prop_map(|(first, rest)| json!([vec![first], rest].concat())),
    ]
}

/// A call or more, their results in the order of the calls, and what the user says after them.
fn tools_turn() -> impl Strategy<Value = Vec<Value>> {
    let calls = prop::collection::vec((words(), object(), words()), 1..4);
    (calls, prop::option::of(words()), prop::option::of(image())).prop_map(|(calls, said, after)| {
        let mut content: Vec<Value> =
            said.map(|text| json!({"type": "text", "text": text})).into_iter().collect();
        let mut results = Vec::new();
        for (index, (name, input, result)) in calls.into_iter().enumerate() {
            let id = format!("t{index}");
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
            results.push(json!({"type": "tool_result", "tool_use_id": id, "content": result}));
        }
        results.extend(after);
        vec![json!({"role": "assistant", "content": content}), json!({"role": "user", "content": results})]
    })
}

fn plain_turn() -> impl Strategy<Value = Vec<Value>> {
    (words(), user()).prop_map(|(said, user)| {
        vec![json!({"role": "assistant", "content": said}), json!({"role": "user", "content": user})]
    })
}

fn tool() -> impl Strategy<Value = Value> {
    (words(), prop::option::of(words()), object(), any::<bool>()).prop_map(
        |(name, description, schema, strict)| {
            let mut tool = json!({"name": name, "input_schema": schema});
            description.into_iter().for_each(|text| tool["description"] = json!(text));
            if strict {
                tool["strict"] = json!(true);
            }
            tool
        },
    )
}

prop_compose! {
    /// A request for messages.
    fn conversation()(
        user in user(),
        turns in prop::collection::vec(prop_oneof![tools_turn(), plain_turn()], 0..4),
        system in prop::option::of(words()),
        tools in prop::collection::vec(tool(), 1..3),
        choice in prop::sample::select(vec![json!({"type": "auto"}), json!({"type": "any"}), json!({"type": "tool", "name": "f"}), json!({"type": "none"})]),
        one in any::<bool>(),
        (numbers, stops, who, effort, stream) in (any::<bool>(), prop::collection::vec(words(), 0..3), prop::option::of(words()), any::<bool>(), any::<bool>()),
    ) -> Value {
        let messages = [vec![json!({"role": "user", "content": user})], turns.concat()].concat();
        let mut request = json!({"model": "m", "max_tokens": 100, "messages": messages, "tools": tools, "tool_choice": choice});
        if one && request["tool_choice"]["type"] != "none" {
            request["tool_choice"]["disable_parallel_tool_use"] = json!(true);
        }
        if numbers {
            request["temperature"] = json!(0.25);
            request["top_p"] = json!(0.75);
        }
        if !stops.is_empty() {
            request["stop_sequences"] = json!(stops);
        }
        if effort {
            request["output_config"] = json!({"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}});
        }
        if stream {
            request["stream"] = json!(true);
        }
        who.into_iter().for_each(|who| request["metadata"] = json!({"user_id": who}));
        system.into_iter().for_each(|text| request["system"] = json!(text));
        request
    }
}

/// The objects of a request whose fields are judged: all but those that are passed on as they are.
fn judged<'a>(
    value: &'a mut Value,
    found: &mut Vec<&'a mut serde_json::Map<String, Value>>,
    nth: &mut usize,
) {
    // One at a time, by its number: the borrow checker allows no list of all.
    match value {
        Value::Object(map) => {
            if *nth == 0 && found.is_empty() {
                found.push(map);
                return;
            }
            *nth -= 1;
            for (key, inner) in map.iter_mut() {
                let passed_on = ["input", "input_schema", "parameters", "schema"].contains(&key.as_str());
                if !passed_on && found.is_empty() {
                    judged(inner, found, nth);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if found.is_empty() {
                    judged(item, found, nth);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts an unknown field into the nth object; false where there are fewer.
fn spoil(request: &mut Value, mut nth: usize, key: &str) -> bool {
    let mut found = Vec::new();
    judged(request, &mut found, &mut nth);
    found.pop().map(|object| object.insert(key.to_owned(), json!(1))).is_some()
}

fn message() -> impl Strategy<Value = Value> {
    let calls = prop::collection::vec((words(), object()), 0..3);
    (words(), calls, prop::array::uniform4(0..1_000_000_u64)).prop_map(|(text, calls, figures)| {
        let mut content = vec![json!({"type": "text", "text": text})];
        let stop = if calls.is_empty() { "end_turn" } else { "tool_use" };
        content.extend(calls.into_iter().enumerate().map(|(index, (name, input))| {
            json!({"type": "tool_use", "id": format!("t{index}"), "name": name, "input": input})
        }));
        let [input, written, read, output] = figures;
        json!({"id": "x", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": stop, "stop_sequence": null,
            "usage": {"input_tokens": input, "cache_creation_input_tokens": written, "cache_read_input_tokens": read, "output_tokens": output}})
    })
}

fn told(asker: Api, body: &Value) -> Value {
    let answer = Answers::to(asker).whole(StatusCode::OK, body.to_string().as_bytes(), 0);
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

proptest! {
    #[test]
    fn there_and_back_is_the_same_request(request in conversation()) {
        let chat = sent(TO_CHAT, &request);
        prop_assert_eq!(&sent(Way::ChatToMessages, &chat), &request);
        prop_assert_eq!(sent(TO_CHAT, &sent(Way::ChatToMessages, &chat)), chat);
    }

    #[test]
    fn there_and_back_is_the_same_answer(message in message()) {
        let completion = told(Api::Chat, &message);
        prop_assert_eq!(&told(Api::Messages, &completion), &message);
        prop_assert_eq!(told(Api::Chat, &told(Api::Messages, &completion)), completion);
    }

    #[test]
    fn an_unknown_field_is_always_refused_by_its_name(
        request in conversation(),
        nth in 0..60_usize,
        key in "x_[a-zA-Z]{1,10}",
        chat: bool,
    ) {
        let (way, mut request) =
            if chat { (Way::ChatToMessages, sent(TO_CHAT, &request)) } else { (TO_CHAT, request) };
        if spoil(&mut request, nth, &key) {
            let said = refused(way, &request);
            prop_assert!(said.contains(&format!("{key}`")), "{}", said);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "\\PC*") {
        for way in [TO_CHAT, Way::ChatToMessages] {
            let _ = way.request(&bytes);
            let _ = way.request(text.as_bytes());
        }
    }
}
