use std::collections::HashMap;

use bytes::Bytes;
use chiton_secret::SecretValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::redact::{ContentCoding, MARKER, Redactor, ScrubError, Scrubber, Unfollowable};

/// A quarter of the value, and eight bytes, are more than may pass.
fn unheld(value: &str) -> usize {
    (value.len() / 4).clamp(1, 8)
}

const KEY: &str = "sk-backend-5f9a1c77e2b04d0c";

fn scrubber(key: &str) -> Scrubber {
    let key = SecretValue::new(key.as_bytes().to_vec());
    let redactor = Redactor::new(&[key]).unwrap();
    redactor.scrubber(ContentCoding::Identity).of_content_type(Some("text/event-stream; charset=utf-8"))
}

fn take(scrubber: &mut Scrubber) -> Result<Vec<u8>, ScrubError> {
    let mut out = Vec::new();
    while let Some(bytes) = scrubber.next()? {
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

fn pass(scrubber: &mut Scrubber, text: &str) -> String {
    scrubber.feed(Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(take(scrubber).unwrap()).unwrap()
}

fn end(scrubber: &mut Scrubber) -> String {
    scrubber.end();
    String::from_utf8(take(scrubber).unwrap()).unwrap()
}

fn run(key: &str, stream: &[u8], chunk: usize) -> Result<Vec<u8>, ScrubError> {
    let mut scrubber = scrubber(key);
    let mut out = Vec::new();
    for piece in stream.chunks(chunk.max(1)) {
        scrubber.feed(Bytes::copy_from_slice(piece));
        out.extend(take(&mut scrubber)?);
    }
    scrubber.end();
    out.extend(take(&mut scrubber)?);
    Ok(out)
}

fn clean(key: &str, stream: &str, chunk: usize) -> String {
    String::from_utf8(run(key, stream.as_bytes(), chunk).unwrap()).unwrap()
}

fn event(value: &Value, end: &str) -> String {
    format!("data: {value}{end}{end}")
}

/// A delta as a provider sends it; every third kind has its numbering, or more, after its text.
fn delta(kind: usize, lane: usize, text: &str) -> Value {
    match kind {
        0 => json!({"id": "c1", "choices": [{"index": lane, "delta": {"content": text}}]}),
        1 => {
            json!({"type": "content_block_delta", "index": lane, "delta": {"type": "text_delta", "text": text}})
        }
        2 => json!({"type": "content_block_delta", "delta": {"partial_json": text}, "index": lane}),
        3 => json!({"delta": text, "item_id": format!("msg_{lane}"), "content_index": 0, "type": "d"}),
        4 => {
            json!({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": text}, "index": lane}]}}]})
        }
        5 => json!({"candidates": [{"content": {"parts": [{"text": text}]}, "index": lane}]}),
        6 => json!({"choices": [{"text": text, "index": lane, "logprobs": null}]}),
        _ => json!(text),
    }
}

/// Reads the stream as an SDK does, without our code: every string by its path, with the numbering that a
/// lane has.
fn joined(stream: &str) -> HashMap<String, String> {
    let mut texts = HashMap::new();
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    for event in stream.split("\n\n") {
        let data: Vec<&str> = event
            .split('\n')
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|value| value.strip_prefix(' ').unwrap_or(value))
            .collect();
        let data = data.join("\n");
        match serde_json::from_str::<Value>(&data) {
            Ok(value) => walk(&value, lane(&value), &mut texts),
            Err(_) => texts.entry("plain".to_owned()).or_default().push_str(&data),
        }
    }
    texts
}

fn lane(value: &Value) -> String {
    let text = value.to_string();
    (0..3)
        .filter(|lane| text.contains(&format!("\"index\":{lane}")) || text.contains(&format!("msg_{lane}")))
        .map(|lane| lane.to_string())
        .collect()
}

fn walk(value: &Value, path: String, texts: &mut HashMap<String, String>) {
    match value {
        Value::String(text) => texts.entry(path).or_default().push_str(text),
        Value::Array(values) => values.iter().for_each(|value| walk(value, format!("{path}/"), texts)),
        Value::Object(values) => {
            values.iter().for_each(|(name, value)| walk(value, format!("{path}/{name}"), texts))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn holds(texts: &HashMap<String, String>, secret: &str) -> bool {
    texts.values().any(|text| text.contains(secret))
}

/// Cuts a text at these places.
fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| text[pair[0]..pair[1]].to_owned()).collect()
}

#[test]
fn a_cut_key_is_taken_out_and_the_rest_stays() {
    for size in 1..KEY.len() {
        for kind in 0..8 {
            let text = format!("your key is {KEY}, keep it");
            let pieces = text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
            let stream: String = pieces.map(|piece| event(&delta(kind, 0, piece), "\n")).collect();
            for chunk in [1, 7, stream.len()] {
                let texts = joined(&clean(KEY, &stream, chunk));
                let text = texts.values().find(|text| text.starts_with("your")).unwrap();
                let (passed, rest) = text.strip_prefix("your key is ").unwrap().split_once(MARKER).unwrap();
                assert!(KEY[..unheld(KEY) - 1].starts_with(passed), "{text}");
                assert_eq!(rest, ", keep it", "{size} {kind}");
            }
        }
    }
}

#[test]
fn events_flow_at_once_and_unchanged_unless_one_may_begin_the_key() {
    let mut scrubber = scrubber(KEY);
    for text in [
        ": hello\n",
        "\n",
        "event: x\r\n",
        "data: {\"text\":\"a s\"}\n",
        "\n",
        "data: {\"id\":\"chatcmpl-0123456789\",\"text\":\"a word\"}\n\n",
        "data: plain sk-\r\n\r\n",
        "id: 1\r",
        "\n",
    ] {
        assert_eq!(pass(&mut scrubber, text), text);
    }
    // A word as long as this waits for what follows, be it one of ours or not; or for nothing to follow.
    for word in ["sk-backend", "otherwise"] {
        let begun = format!("data: {{\"text\": \"see {word}\"}}\n\n");
        assert_eq!(pass(&mut scrubber, &begun), "");
        assert_eq!(pass(&mut scrubber, ": ping\n\n"), "");
        assert_eq!(pass(&mut scrubber, "data: {\"other\":\"x\"}\n\n"), "");
        let other = "data: {\"text\":\" atman\"}\n\n";
        let all = format!("{begun}: ping\n\ndata: {{\"other\":\"x\"}}\n\n{other}");
        assert_eq!(pass(&mut scrubber, other), all);
        assert_eq!(pass(&mut scrubber, &begun), "");
        assert!(scrubber.waits());
        scrubber.quiet();
        assert_eq!(String::from_utf8(take(&mut scrubber).unwrap()).unwrap(), begun);
        assert!(!scrubber.waits());
        assert_eq!(pass(&mut scrubber, other), other);
    }
}

#[test]
fn the_pieces_of_interleaved_texts_are_not_mixed() {
    let lanes = [cut_by(KEY, 7), cut_by("a text that is no key at all", 7)];
    for kind in 0..7 {
        let events = (0..4).flat_map(|piece| {
            lanes.iter().enumerate().map(move |(lane, text)| event(&delta(kind, lane, &text[piece]), "\n"))
        });
        let stream: String = events.collect();
        let texts = joined(&clean(KEY, &stream, 64));
        assert!(!holds(&texts, KEY), "{kind}: {texts:?}");
        assert!(holds(&texts, MARKER) && holds(&texts, "a text that is no key at all"), "{kind}: {texts:?}");
    }
}

fn cut_by(text: &str, size: usize) -> Vec<String> {
    text.as_bytes().chunks(size).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
}

#[test]
fn other_forms_and_frames_are_followed_too() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for form in [STANDARD.encode(format!("user:{KEY}")), percent] {
        let stream: String = cut_by(&form, 5).iter().map(|piece| event(&delta(0, 0, piece), "\n")).collect();
        assert!(clean(KEY, &stream, 9).contains(MARKER), "{form}");
    }
    let (first, second) = KEY.split_at(12);
    let escaped: String = second.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
    for stream in [
        format!("data: {{\"text\":\ndata: \"{first}\"}}\n\ndata: {{\ndata:\"text\":\"{second}\"}}\n\n"),
        format!("data: {{\"text\":\"{first}\"}}\r\rdata: {{\"text\":\"{escaped}\"}}\r\r"),
        format!("data: {{\"text\":\"{first}\"}}\ndata: {{\"text\":\"{second}\"}}"),
        format!("\u{feff}data: {first}\n\ndata: {second}"),
        format!("data: [{first}\n\ndata: {second}\n\n"),
        format!("data:{first}\ndata:{second}\n\n"),
        format!(
            "data: {{\"a\":{{\"text\":\"{first}\"}}}}\n\ndata: {{\"b\":[\"\",{{\"text\":\"{second}\"}}]}}\n\n"
        ),
    ] {
        for chunk in [1, 2, 1000] {
            let out = clean(KEY, &stream, chunk);
            assert!(
                out.contains(MARKER)
                    && !out.contains(first)
                    && !out.contains(second)
                    && !out.contains(&escaped),
                "{out}"
            );
            assert_eq!(
                out.len() + KEY.len() + escaped_growth(&stream, &escaped, second),
                stream.len() + MARKER.len()
            );
        }
    }
}

fn escaped_growth(stream: &str, escaped: &str, plain: &str) -> usize {
    if stream.contains(escaped) { escaped.len() - plain.len() } else { 0 }
}

#[test]
fn a_key_within_arguments_that_are_json_themselves_is_followed() {
    let key = "sk-\"odd\\one/\u{e9}-5f9a";
    let arguments = json!({"path": key, "n": 1}).to_string();
    for size in 1..key.chars().count() {
        let characters: Vec<char> = arguments.chars().collect();
        let pieces = characters.chunks(size).map(|piece| piece.iter().collect::<String>());
        let stream: String = pieces.map(|piece| event(&delta(2, 1, &piece), "\n")).collect();
        let texts = joined(&clean(key, &stream, 50));
        assert!(holds(&texts, MARKER) && !holds(&texts, "5f9a"), "{size}: {texts:?}");
        assert!(holds(&texts, "\",\"n\":1}") || holds(&texts, "{\"n\":1,"), "{size}: {texts:?}");
    }
}

#[test]
fn at_the_end_a_part_passes() {
    let part = event(&delta(0, 0, &KEY[..10]), "\n") + &event(&delta(0, 0, &KEY[10..20]), "\n");
    assert_eq!(clean(KEY, &part, 8), part);
}

#[test]
fn what_is_held_is_bounded() {
    let begun = event(&delta(0, 0, &KEY[..20]), "\n");
    // By bytes, by units, and by events that tell other texts.
    let other = event(&json!({"x": "y".repeat(10_000)}), "\n");
    let word = event(&delta(0, 1, "so "), "\n");
    for (other, most) in [(other.as_str(), 30), (": ping\n", 1030), (word.as_str(), 33)] {
        let mut scrubber = scrubber(KEY);
        assert_eq!(pass(&mut scrubber, &begun), "");
        assert_eq!(pass(&mut scrubber, other), "");
        let mut out = String::new();
        for _ in 0..most {
            out += &pass(&mut scrubber, other);
        }
        assert!(out.starts_with(&begun), "{other}");
        // What follows is taken out all the same.
        out = pass(&mut scrubber, &event(&delta(0, 0, &KEY[20..]), "\n"));
        out += &end(&mut scrubber);
        assert!(out.contains(MARKER) && !out.contains(&KEY[20..]), "{out}");
    }
}

#[test]
fn many_texts_are_no_error() {
    let texts: String = (0..9000).map(|number| format!("data: {{\"{number}\":\"word\"}}\n\n")).collect();
    assert_eq!(clean(KEY, &texts, 1 << 20), texts);
    let texts: Vec<String> = (0..9000).map(|number| format!("a-word-of-some-length-{number}")).collect();
    let texts = event(&json!({"text": "x ", "all": texts}), "\n");
    assert_eq!(clean(KEY, &texts, 1 << 20), texts);
}

#[test]
fn what_cannot_be_followed_is_cut() {
    let long = format!("data: \"{}", "x".repeat(9 << 20));
    assert_eq!(run(KEY, long.as_bytes(), 1 << 20), Err(Unfollowable::TooLong.into()));
    let many = format!("data: {}", "[".repeat(70_000));
    assert_eq!(run(KEY, many.as_bytes(), 1 << 20), Err(Unfollowable::TooMany.into()));
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[!-~]{8,40}", "sk-[a-z]{2,5}-[A-Za-z0-9]{10,40}", "[ab]{8,12}"]
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]
}

fn noise() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(": ping\n\n".to_owned()),
        Just("event: x\nid: 4\nretry: 5\n".to_owned()),
        Just("data: {\"type\":\"ping\",\"usage\":{\"n\":[1,2,null,true]}}\n\n".to_owned()),
        "[ -~]{0,20}".prop_map(|text| format!("data: {}\n\n", json!({"other": {"deep": [text]}}))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_joined_text_holds_the_secret(
        secret in secret(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        (kind, lane, other) in (0_usize..8, 0_usize..3, any::<bool>()), noise in prop::collection::vec(noise(), 1..4),
        ends in line_end(), chunk in 1_usize..200,
    ) {
        let mut stream = String::new();
        for (number, piece) in cut(&format!("it is {secret} so"), &cuts).iter().enumerate() {
            stream += &event(&delta(kind, lane, piece), ends);
            if other && kind < 7 {
                stream += &event(&delta(kind, (lane + 1) % 3, "zz"), ends);
            }
            stream += &noise[number % noise.len()];
        }
        let out = clean(&secret, &stream, chunk);
        let texts = joined(&out);
        prop_assert!(!holds(&texts, &secret) && !holds(&texts, &secret[unheld(&secret)..]), "{}\n{}\n{}", secret, stream, out);
        prop_assert!(out.contains(MARKER), "{}", out);
    }

    #[test]
    fn plain_data_is_joined_too(secret in secret(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8), ends in line_end(), chunk in 1_usize..100) {
        // A piece that by itself reads as JSON is no plain text.
        let secret = secret.replace(['"', '{', '['], "x");
        let pieces = cut(&secret, &cuts);
        let stream: String = pieces.iter().map(|piece| format!("data: {piece}{ends}{ends}")).collect();
        prop_assert!(!holds(&joined(&clean(&secret, &stream, chunk)), &secret));
    }

    #[test]
    fn other_streams_pass_unchanged(
        texts in prop::collection::vec(("[ -~]{0,12}|sk-back|5f9a1|sk-b", 0_usize..8, 0_usize..3), 0..20),
        noise in noise(), ends in line_end(), chunk in 1_usize..200,
    ) {
        let events = texts.iter().map(|(text, kind, lane)| event(&delta(*kind, *lane, text), ends) + &noise);
        let stream: String = events.collect();
        prop_assert_eq!(clean(KEY, &stream, chunk), stream);
    }

    #[test]
    fn other_bytes_pass_unchanged(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"data: \n\r\"\\{}[],:sk-b".to_vec())], 0..400), chunk in 1_usize..50) {
        // What begins as UTF-16 does is refused.
        let bytes = [b"\n\n\n\n", &*bytes].concat();
        prop_assert_eq!(run(KEY, &bytes, chunk).unwrap(), bytes);
    }
}
