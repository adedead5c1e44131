//! The events of a message as chunks of a chat completion.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Out, Told};
use crate::translate::{
    answer::{Block, ErrorSaid, Figures, MessagesUsage, Unreadable, finish_of, status_of},
    write::{Obj, list},
};

#[derive(Deserialize)]
struct Heard<'a> {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Start>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    delta: Option<Delta>,
    usage: Option<MessagesUsage>,
    error: Option<ErrorSaid>,
}

#[derive(Deserialize)]
struct Start {
    id: Option<String>,
    model: Option<String>,
    usage: Option<MessagesUsage>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

#[derive(Debug)]
pub(super) struct Teller {
    include_usage: bool,
    now: u64,
    id: String,
    model: String,
    /// How many calls were begun.
    calls: u64,
    /// The open block is a call; whether its arguments were said already.
    open_call: Option<bool>,
    finished: bool,
    figures: Figures,
}

impl Teller {
    pub(super) fn new(include_usage: bool, now: u64) -> Self {
        Self {
            include_usage,
            now,
            id: String::new(),
            model: String::new(),
            calls: 0,
            open_call: None,
            finished: false,
            figures: Figures::default(),
        }
    }

    pub(super) fn tell(&mut self, data: &[u8], out: &mut Out) -> Result<Told, Unreadable> {
        let event: Heard<'_> = serde_json::from_slice(data)?;
        match event.kind.as_str() {
            "message_start" => {
                let start = event.message.ok_or(Unreadable::Has("no message in its start"))?;
                self.id = start.id.unwrap_or_default();
                self.model = start.model.unwrap_or_default();
                self.figures.take(start.usage.unwrap_or_default());
                self.delta(
                    Obj::new().str("role", "assistant").str("content", "").raw("refusal", "null"),
                    out,
                );
            }
            "content_block_start" => {
                self.begin(event.content_block.ok_or(Unreadable::Has("no block in its start"))?, out)?;
            }
            "content_block_delta" => {
                self.piece(event.delta.ok_or(Unreadable::Has("no delta in its event"))?, out)?;
            }
            "content_block_stop" => {
                // A function that takes nothing takes an empty object.
                if self.open_call.take() == Some(false) {
                    self.arguments("{}", out);
                }
                self.open_call = None;
            }
            "message_delta" => {
                self.figures.take(event.usage.unwrap_or_default());
                if let Some(stop) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.finished = true;
                    let finish = finish_of(&stop)?;
                    self.chunk("{}", Some(finish), out);
                }
            }
            "message_stop" if !self.finished => return Err(Unreadable::Ended),
            "message_stop" => {
                if self.include_usage {
                    out.data(&self.head().raw("choices", "[]").raw("usage", &self.figures.as_chat()).end());
                }
                out.data("[DONE]");
                return Ok(Told::Last);
            }
            "error" => {
                let said = event.error;
                let status = status_of(said.as_ref().map_or("", ErrorSaid::kind));
                let message = said.and_then(|error| error.message());
                return Ok(Told::Error(
                    status,
                    message.unwrap_or_else(|| "the backend broke off".to_owned()),
                ));
            }
            "ping" => out.still_there(crate::translate::Api::Chat),
            // Anthropic says that more may come, and are to be passed over.
            _ => {}
        }
        Ok(Told::On)
    }

    fn begin(&mut self, block: Block<'_>, out: &mut Out) -> Result<(), Unreadable> {
        match block.kind.as_str() {
            "text" => self.text(block.text, out),
            "tool_use" => {
                let (Some(id), Some(name)) = (block.id, block.name) else {
                    return Err(Unreadable::Has("a `tool_use` without its name or id"));
                };
                self.calls += 1;
                self.open_call = Some(false);
                let function = Obj::new().str("name", &name).str("arguments", "").end();
                let call = self.call().str("id", &id).str("type", "function").raw("function", &function);
                self.delta(Obj::new().raw("tool_calls", &list(&[call.end()])), out);
                if let Some(input) = block.input.map(RawValue::get).filter(|input| *input != "{}") {
                    self.arguments(input, out);
                }
            }
            "thinking" | "redacted_thinking" => {}
            other => return Err(Unreadable::says("type", other)),
        }
        Ok(())
    }

    fn piece(&mut self, delta: Delta, out: &mut Out) -> Result<(), Unreadable> {
        match delta.kind.as_deref().unwrap_or_default() {
            "text_delta" => self.text(delta.text, out),
            "input_json_delta" => {
                if let Some(piece) = delta.partial_json.filter(|piece| !piece.is_empty()) {
                    self.arguments(&piece, out);
                }
            }
            "thinking_delta" | "signature_delta" => {}
            other => return Err(Unreadable::says("type", other)),
        }
        Ok(())
    }

    fn text(&self, text: Option<String>, out: &mut Out) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.delta(Obj::new().str("content", &text), out);
        }
    }

    fn arguments(&mut self, piece: &str, out: &mut Out) {
        self.open_call = Some(true);
        let function = Obj::new().str("arguments", piece).end();
        let call = self.call().raw("function", &function).end();
        self.delta(Obj::new().raw("tool_calls", &list(&[call])), out);
    }

    /// The call that was begun last.
    fn call(&self) -> Obj {
        Obj::new().number("index", self.calls.saturating_sub(1))
    }

    fn delta(&self, delta: Obj, out: &mut Out) {
        self.chunk(&delta.end(), None, out);
    }

    fn chunk(&self, delta: &str, finish: Option<&str>, out: &mut Out) {
        let choice = Obj::new().number("index", 0).raw("delta", delta).raw("logprobs", "null");
        let choice = match finish {
            Some(finish) => choice.str("finish_reason", finish),
            None => choice.raw("finish_reason", "null"),
        };
        let head = self.head().raw("choices", &list(&[choice.end()]));
        out.data(&head.some("usage", self.include_usage.then_some("null")).end());
    }

    fn head(&self) -> Obj {
        let out = Obj::new().str("id", &self.id).str("object", "chat.completion.chunk");
        out.number("created", self.now).str("model", &self.model)
    }
}
