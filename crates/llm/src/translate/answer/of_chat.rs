//! A chat completion as a message.

use serde::Deserialize;

use super::{ChatUsage, Figures, Unreadable};
use crate::translate::{
    to_messages::turns::as_object,
    write::{Obj, list, quoted},
};

#[derive(Deserialize)]
struct Completion {
    id: Option<String>,
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<ChatUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
    /// The sequence that stopped it, where a server tells.
    stop_reason: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<serde_json::Value>,
    audio: Option<serde_json::Value>,
    #[serde(flatten)]
    thought: Thought,
}

/// What the model thought, in the fields that servers beside OpenAI's own have for it.
#[derive(Default, Deserialize)]
pub(in crate::translate) struct Thought {
    reasoning_content: Option<serde_json::Value>,
    reasoning: Option<serde_json::Value>,
}

impl Thought {
    /// None where nobody wants to see it.
    pub(in crate::translate) fn shown(self, wanted: bool) -> Option<String> {
        let told = [self.reasoning_content, self.reasoning].into_iter().flatten();
        let mut told = told.filter_map(|thought| thought.as_str().map(str::to_owned));
        told.find(|thought| wanted && !thought.is_empty())
    }
}

#[derive(Deserialize)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

/// Why a message stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::translate) struct Stop {
    reason: &'static str,
    sequence: Option<String>,
}

impl Stop {
    /// Both fields, within a message or the delta of one.
    pub(in crate::translate) fn write(&self, out: Obj) -> Obj {
        let sequence = self.sequence.as_deref().map_or_else(|| "null".to_owned(), quoted);
        out.str("stop_reason", self.reason).raw("stop_sequence", &sequence)
    }
}

/// What a finish is called. Servers say `stop` also after calls, and few tell which sequence stopped them.
pub(in crate::translate) fn stop_of(
    finish: &str,
    called: bool,
    refused: bool,
    sequence: Option<&serde_json::Value>,
) -> Result<Stop, Unreadable> {
    let sequence = sequence.and_then(serde_json::Value::as_str).map(str::to_owned);
    let reason = match finish {
        "stop" | "tool_calls" if called => "tool_use",
        "stop" if refused => "refusal",
        "stop" if sequence.is_some() => return Ok(Stop { reason: "stop_sequence", sequence }),
        "stop" | "tool_calls" => "end_turn",
        "length" | "model_length" => "max_tokens",
        "content_filter" => "refusal",
        other => return Err(Unreadable::says("finish_reason", other)),
    };
    Ok(Stop { reason, sequence: None })
}

pub(super) fn message(body: &[u8], thinking: bool) -> Result<String, Unreadable> {
    let Completion { id, model, mut choices, usage } = serde_json::from_slice(body)?;
    let (Some(choice), true) = (choices.pop(), choices.is_empty()) else {
        return Err(Unreadable::Has("no choice, or several"));
    };
    let said = choice.message;
    if said.function_call.is_some() {
        return Err(Unreadable::Has("a `function_call`"));
    }
    if said.audio.is_some() {
        return Err(Unreadable::Has("`audio`"));
    }
    let mut blocks = Vec::new();
    if let Some(thought) = said.thought.shown(thinking) {
        let block = Obj::new().str("type", "thinking").str("thinking", &thought);
        blocks.push(block.str("signature", "").end());
    }
    let refused = said.refusal.is_some();
    for text in [said.content, said.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
        blocks.push(Obj::new().str("type", "text").str("text", &text).end());
    }
    let calls = said.tool_calls.unwrap_or_default();
    for call in &calls {
        let input = as_object(&call.function.arguments);
        let input = input.ok_or(Unreadable::Has("a call whose arguments are no JSON object"))?;
        let block = Obj::new().str("type", "tool_use").str("id", &call.id).str("name", &call.function.name);
        blocks.push(block.raw("input", input).end());
    }
    let finish = choice.finish_reason.ok_or(Unreadable::Has("no `finish_reason`"))?;
    let stop = stop_of(&finish, !calls.is_empty(), refused, choice.stop_reason.as_ref())?;
    let out = Obj::new().str("id", id.as_deref().unwrap_or_default()).str("type", "message");
    let out = out.str("role", "assistant").str("model", model.as_deref().unwrap_or_default());
    let out = stop.write(out.raw("content", &list(&blocks)));
    Ok(out.raw("usage", &Figures::from(usage.unwrap_or_default()).as_messages()).end())
}
