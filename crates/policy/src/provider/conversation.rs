//! How conversations with a model are held: whose words are spoken, and where.

use super::Provider;

/// A provider's endpoint of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// In whose words.
    pub words: Words,
    /// Its path, one of the provider's endpoints.
    pub path: &'static str,
}

/// An API of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Anthropic's messages.
    Messages,
    /// OpenAI's chat completions.
    Chat {
        /// The field that bounds an answer's tokens.
        most_tokens: &'static str,
    },
}

impl Words {
    /// Whether what is said in one can be put into the other.
    const fn is_other_than(self, other: Self) -> bool {
        matches!((self, other), (Words::Messages, Words::Chat { .. }) | (Words::Chat { .. }, Words::Messages))
    }
}

impl Provider {
    /// Whether conversations in this one's words can be held with a backend of the other.
    #[must_use]
    pub fn translates_to(self, backend: Self) -> bool {
        let words = |provider: Self| Some(provider.facts().conversation?.words);
        words(self).zip(words(backend)).is_some_and(|(own, other)| own.is_other_than(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropic_and_those_who_speak_openais_words() {
        let pairs = Provider::ALL.into_iter().flat_map(|one| Provider::ALL.map(|other| (one, other)));
        for (one, other) in pairs {
            let chat =
                |provider| ![Provider::Anthropic, Provider::Google, Provider::Bedrock].contains(&provider);
            let wanted =
                one == Provider::Anthropic && chat(other) || chat(one) && other == Provider::Anthropic;
            assert_eq!(one.translates_to(other), wanted, "{one} {other}");
        }
    }
}
