//! A message as a chat completion.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Figures, MessagesUsage, Unreadable};
use crate::translate::write::{Obj, list, quoted};

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    stop_reason: Option<String>,
    usage: Option<MessagesUsage>,
}

/// A part of what is said, whole or as a stream begins it.
#[derive(Deserialize)]
pub(in crate::translate) struct Block<'a> {
    #[serde(rename = "type")]
    pub(in crate::translate) kind: String,
    pub(in crate::translate) text: Option<String>,
    pub(in crate::translate) id: Option<String>,
    pub(in crate::translate) name: Option<String>,
    #[serde(borrow)]
    pub(in crate::translate) input: Option<&'a RawValue>,
}

/// What a stop is called.
pub(in crate::translate) fn finish_of(stop: &str) -> Result<&'static str, Unreadable> {
    match stop {
        "end_turn" | "stop_sequence" => Ok("stop"),
        "max_tokens" | "model_context_window_exceeded" => Ok("length"),
        "tool_use" => Ok("tool_calls"),
        "refusal" => Ok("content_filter"),
        other => Err(Unreadable::says("stop_reason", other)),
    }
}

pub(super) fn completion(body: &[u8], now: u64) -> Result<String, Unreadable> {
    let message: Message<'_> = serde_json::from_slice(body)?;
    let (mut text, mut has_text, mut calls) = (String::new(), false, Vec::new());
    for block in message.content {
        match block.kind.as_str() {
            "text" => {
                has_text = true;
                text.push_str(&block.text.unwrap_or_default());
            }
            "tool_use" => {
                let (Some(id), Some(name), Some(input)) = (block.id, block.name, block.input) else {
                    return Err(Unreadable::Has("a `tool_use` without its name, id or input"));
                };
                let function = Obj::new().str("name", &name).str("arguments", input.get()).end();
                calls
                    .push(Obj::new().str("id", &id).str("type", "function").raw("function", &function).end());
            }
            // OpenAI tells no thoughts either; what they cost is in the usage.
            "thinking" | "redacted_thinking" => {}
            other => return Err(Unreadable::says("type", other)),
        }
    }
    let stop = message.stop_reason.ok_or(Unreadable::Has("no `stop_reason`"))?;
    let said = Obj::new().str("role", "assistant");
    let said = said.raw("content", &if has_text { quoted(&text) } else { "null".to_owned() });
    let calls = (!calls.is_empty()).then(|| list(&calls));
    let said = said.raw("refusal", "null").some("tool_calls", calls.as_deref()).end();
    let choice = Obj::new().number("index", 0).raw("message", &said).raw("logprobs", "null");
    let choice = choice.str("finish_reason", finish_of(&stop)?).end();
    let mut figures = Figures::default();
    figures.take(message.usage.unwrap_or_default());
    let out = Obj::new().str("id", message.id.as_deref().unwrap_or_default());
    let out = out.str("object", "chat.completion").number("created", now);
    let out = out.str("model", message.model.as_deref().unwrap_or_default());
    Ok(out.raw("choices", &list(&[choice])).raw("usage", &figures.as_chat()).end())
}
