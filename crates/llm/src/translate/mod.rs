//! Puts a call of one API into another's words: Anthropic's messages and OpenAI's chat completions, both ways.
//!
//! In comes a request's body as the asker wrote it; out goes the backend's, and an [`Answers`] that knows how what
//! comes back is told to the asker: whole ([`Answers::whole`]) or as a stream ([`Answers::stream`]).
//! Nothing in a request is overlooked: a field is carried, or is known to change nothing that the asker sees, or the
//! request is refused by the field's name ([`Untranslatable`], and the tables in [`fates`]). Values that are passed
//! on as they are (schemas, arguments, texts) keep their bytes.

mod answer;
pub mod fates;
mod read;
mod stream;
mod to_chat;
mod to_messages;
mod write;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use read::{Api, Untranslatable};
pub use stream::StreamTranslator;
pub use to_messages::MOST_TOKENS;

use http::StatusCode;

/// From whose API into whose, and what the backend's wants said otherwise than others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Anthropic's messages are asked for, chat completions are behind.
    MessagesToChat {
        /// The field that bounds an answer's tokens: `max_tokens` or `max_completion_tokens`.
        most_tokens: &'static str,
        /// Whether a stream tells its usage only when asked.
        asks_usage: bool,
    },
    /// Chat completions are asked for, Anthropic's messages are behind.
    ChatToMessages,
}

/// A request in the backend's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its body, JSON.
    pub body: String,
    /// How what comes back is told.
    pub answers: Answers,
}

/// How a backend's answers are told to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// In whose words.
    pub asker: Api,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether the asker of chat completions wants the usage of a stream.
    include_usage: bool,
    /// Whether the asker of messages wants to see what the model thinks.
    thinking: bool,
}

/// How much of an answer is held: a whole one, and one event of a stream.
pub const LONGEST_ANSWER: usize = 8 << 20;

impl Way {
    /// Puts a request into the backend's words.
    ///
    /// # Errors
    /// When something in it cannot be said there, by its name.
    pub fn request(self, body: &[u8]) -> Result<Translated, Untranslatable> {
        match self {
            Way::MessagesToChat { most_tokens, asks_usage } => {
                to_chat::request(body, most_tokens, asks_usage)
            }
            Way::ChatToMessages => to_messages::request(body),
        }
    }
}

impl Answers {
    /// For an asker of whose request nothing is known.
    #[must_use]
    pub const fn to(asker: Api) -> Self {
        Self { asker, stream: false, include_usage: false, thinking: false }
    }

    /// The same for one who did not ask for the usage of a stream.
    #[must_use]
    pub const fn without_usage(self) -> Self {
        Self { include_usage: false, ..self }
    }

    /// Tells a whole answer: a result, or an error. `now` is in seconds since 1970.
    #[must_use]
    pub fn whole(&self, status: StatusCode, body: &[u8], now: u64) -> Answer {
        answer::whole(self, status, body, now)
    }

    /// An error of our own in the asker's words.
    #[must_use]
    pub fn error(&self, status: StatusCode, message: &str) -> Answer {
        answer::error(self.asker, status, message)
    }

    /// Tells a stream as it comes.
    #[must_use]
    pub fn stream(&self, now: u64) -> StreamTranslator {
        StreamTranslator::new(*self, now)
    }
}
