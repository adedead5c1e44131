//! The APIs that are spoken, as data.

use chiton_secret::SecretValue;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use crate::{InjectError, inject_header};

/// How a provider's API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Chat completions, completions, embeddings, responses.
    OpenAi,
    /// Messages.
    Anthropic,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 2] = [Dialect::OpenAi, Dialect::Anthropic];

    /// As a policy's `provider` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
        }
    }

    /// The dialect of a policy's `provider`, where it is one of these.
    #[must_use]
    pub fn of_provider(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }

    /// Puts the backend's credential where the provider wants it, in place of whatever is there.
    ///
    /// # Errors
    /// When the value cannot stand in a header.
    pub fn inject(self, headers: &mut HeaderMap, value: &SecretValue) -> Result<(), InjectError> {
        match self {
            Dialect::OpenAi => inject_header(headers, AUTHORIZATION, "Bearer ", value),
            Dialect::Anthropic => inject_header(headers, HeaderName::from_static("x-api-key"), "", value),
        }
    }
}
