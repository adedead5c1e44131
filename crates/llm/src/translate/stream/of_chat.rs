//! Chunks of a chat completion as the events of a message.
//!
//! A message's blocks come one after the other, each with its start and its stop. Its figures and the reason of its
//! stop are told when the chunks are over, since servers tell the usage last.

use serde::Deserialize;

use super::{Out, Told};
use crate::translate::{
    answer::{ChatUsage, ErrorSaid, Figures, Thought, Unreadable, status_of, stop_of},
    write::Obj,
};

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<ChatUsage>,
    error: Option<ErrorSaid>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
    stop_reason: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    #[serde(flatten)]
    thought: Thought,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<serde_json::Value>,
    audio: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

/// What the open block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// The call of this index.
    Call(u64),
}

#[derive(Debug)]
pub(super) struct Teller {
    thinking: bool,
    started: bool,
    open: Option<Open>,
    /// How many blocks were begun.
    blocks: u64,
    /// The index that the next call may have.
    next_call: u64,
    refused: bool,
    finish: Option<(String, Option<serde_json::Value>)>,
    figures: Figures,
}

impl Teller {
    pub(super) fn new(thinking: bool) -> Self {
        let figures = Figures::default();
        let (started, refused) = (false, false);
        Self { thinking, started, open: None, blocks: 0, next_call: 0, refused, finish: None, figures }
    }

    pub(super) fn tell(&mut self, data: &[u8], out: &mut Out) -> Result<Told, Unreadable> {
        if data.trim_ascii() == b"[DONE]" {
            return self.done(out);
        }
        let chunk: Chunk = serde_json::from_slice(data)?;
        if let Some(error) = chunk.error {
            let message = error.message().unwrap_or_else(|| "the backend broke off".to_owned());
            return Ok(Told::Error(status_of(error.kind()), message));
        }
        if !std::mem::replace(&mut self.started, true) {
            start(chunk.id.as_deref(), chunk.model.as_deref(), out);
        }
        if let Some(usage) = chunk.usage {
            self.figures = usage.into();
        }
        for choice in chunk.choices.into_iter().flatten() {
            if choice.index.is_some_and(|index| index > 0) {
                return Err(Unreadable::Has("several choices"));
            }
            self.delta(choice.delta.unwrap_or_default(), out)?;
            if let Some(finish) = choice.finish_reason {
                self.finish = Some((finish, choice.stop_reason));
            }
        }
        Ok(Told::On)
    }

    fn delta(&mut self, delta: Delta, out: &mut Out) -> Result<(), Unreadable> {
        if delta.function_call.is_some() {
            return Err(Unreadable::Has("a `function_call`"));
        }
        if delta.audio.is_some() {
            return Err(Unreadable::Has("`audio`"));
        }
        let is_some = |text: &String| !text.is_empty();
        if let Some(thought) = delta.thought.shown(self.thinking) {
            self.begin(Open::Thinking, r#"{"type":"thinking","thinking":"","signature":""}"#, out);
            self.piece(Obj::new().str("type", "thinking_delta").str("thinking", &thought), out);
        }
        self.refused |= delta.refusal.is_some();
        for text in [delta.content, delta.refusal].into_iter().flatten().filter(is_some) {
            self.begin(Open::Text, r#"{"type":"text","text":""}"#, out);
            self.piece(Obj::new().str("type", "text_delta").str("text", &text), out);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, out)?;
        }
        Ok(())
    }

    fn call(&mut self, call: Call, out: &mut Out) -> Result<(), Unreadable> {
        // Servers that tell no index tell each call whole.
        let index = call.index.unwrap_or_else(|| match self.open {
            Some(Open::Call(open)) if call.id.is_none() => open,
            _ => self.next_call,
        });
        let (name, arguments) =
            call.function.map_or((None, None), |function| (function.name, function.arguments));
        if self.open != Some(Open::Call(index)) {
            if index < self.next_call {
                return Err(Unreadable::Has("pieces of a call after another had begun"));
            }
            let (Some(id), Some(name)) = (call.id, name) else {
                return Err(Unreadable::Has("a call that begins without its name and id"));
            };
            self.next_call = index.saturating_add(1);
            let block = Obj::new().str("type", "tool_use").str("id", &id).str("name", &name);
            self.begin(Open::Call(index), &block.raw("input", "{}").end(), out);
        }
        if let Some(piece) = arguments.filter(|piece| !piece.is_empty()) {
            self.piece(Obj::new().str("type", "input_json_delta").str("partial_json", &piece), out);
        }
        Ok(())
    }

    /// Makes this the open block.
    fn begin(&mut self, what: Open, block: &str, out: &mut Out) {
        if self.open == Some(what) {
            return;
        }
        self.end_block(out);
        let start = Obj::new().str("type", "content_block_start").number("index", self.blocks);
        out.named("content_block_start", &start.raw("content_block", block).end());
        self.open = Some(what);
    }

    fn piece(&self, delta: Obj, out: &mut Out) {
        let event = Obj::new().str("type", "content_block_delta").number("index", self.blocks);
        out.named("content_block_delta", &event.raw("delta", &delta.end()).end());
    }

    fn end_block(&mut self, out: &mut Out) {
        if self.open.take().is_some() {
            let stop = Obj::new().str("type", "content_block_stop").number("index", self.blocks);
            out.named("content_block_stop", &stop.end());
            self.blocks += 1;
        }
    }

    fn done(&mut self, out: &mut Out) -> Result<Told, Unreadable> {
        let (finish, sequence) = self.finish.take().ok_or(Unreadable::Ended)?;
        let stop = stop_of(&finish, self.next_call > 0, self.refused, sequence.as_ref())?;
        self.end_block(out);
        let delta = stop.write(Obj::new()).end();
        let event = Obj::new().str("type", "message_delta").raw("delta", &delta);
        out.named("message_delta", &event.raw("usage", &self.figures.as_messages()).end());
        out.named("message_stop", r#"{"type":"message_stop"}"#);
        Ok(Told::Last)
    }
}

fn start(id: Option<&str>, model: Option<&str>, out: &mut Out) {
    let message =
        Obj::new().str("id", id.unwrap_or_default()).str("type", "message").str("role", "assistant");
    let message = message.str("model", model.unwrap_or_default()).raw("content", "[]");
    let message = message.raw("stop_reason", "null").raw("stop_sequence", "null");
    let message = message.raw("usage", &Figures::default().as_messages()).end();
    let event = Obj::new().str("type", "message_start").raw("message", &message);
    out.named("message_start", &event.end());
}
