//! What a call used. Anthropic tells what was read from and written into a cache beside the rest, OpenAI within it.

use serde::Deserialize;

use crate::translate::write::Obj;

/// As chat completions tell it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(in crate::translate) struct ChatUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

/// As messages tell it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(in crate::translate) struct MessagesUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

/// The figures, each token counted once but those thought, which are of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::translate) struct Figures {
    input: u64,
    cache_read: u64,
    cache_written: u64,
    output: u64,
    thought: Option<u64>,
}

impl From<ChatUsage> for Figures {
    fn from(usage: ChatUsage) -> Self {
        let details = usage.prompt_tokens_details.unwrap_or_default();
        let (read, written) = (details.cached_tokens.unwrap_or(0), details.cache_write_tokens.unwrap_or(0));
        Self {
            input: usage.prompt_tokens.unwrap_or(0).saturating_sub(read).saturating_sub(written),
            cache_read: read,
            cache_written: written,
            output: usage.completion_tokens.unwrap_or(0),
            thought: usage.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        }
    }
}

impl Figures {
    /// Takes what is told: later figures of a stream are in place of earlier ones.
    pub(in crate::translate) fn take(&mut self, usage: MessagesUsage) {
        self.input = usage.input_tokens.unwrap_or(self.input);
        self.output = usage.output_tokens.unwrap_or(self.output);
        self.cache_written = usage.cache_creation_input_tokens.unwrap_or(self.cache_written);
        self.cache_read = usage.cache_read_input_tokens.unwrap_or(self.cache_read);
        self.thought = usage.output_tokens_details.and_then(|told| told.thinking_tokens).or(self.thought);
    }

    pub(in crate::translate) fn as_messages(&self) -> String {
        let out = Obj::new().number("input_tokens", self.input);
        let out = out.number("cache_creation_input_tokens", self.cache_written);
        let out = out.number("cache_read_input_tokens", self.cache_read).number("output_tokens", self.output);
        let thought = self.thought.map(|thought| Obj::new().number("thinking_tokens", thought).end());
        out.some("output_tokens_details", thought.as_deref()).end()
    }

    pub(in crate::translate) fn as_chat(&self) -> String {
        let prompt = self.input.saturating_add(self.cache_read).saturating_add(self.cache_written);
        let out = Obj::new().number("prompt_tokens", prompt).number("completion_tokens", self.output);
        let out = out.number("total_tokens", prompt.saturating_add(self.output));
        let details = Obj::new().number("cached_tokens", self.cache_read);
        let details = details.number("cache_write_tokens", self.cache_written).end();
        let thought = self.thought.map(|thought| Obj::new().number("reasoning_tokens", thought).end());
        out.raw("prompt_tokens_details", &details).some("completion_tokens_details", thought.as_deref()).end()
    }
}
