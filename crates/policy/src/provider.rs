//! The providers of LLM routes, as data: hosts, inference endpoints, and where a key goes.

use crate::patterns::PathPattern;

/// Whose API a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// `openai`
    OpenAi,
    /// `anthropic`
    Anthropic,
    /// `google`
    Google,
    /// `azure-openai`
    AzureOpenAi,
    /// `bedrock`
    Bedrock,
    /// `openrouter`
    OpenRouter,
    /// `mistral`
    Mistral,
    /// `groq`
    Groq,
    /// `ollama`
    Ollama,
    /// `openai-compatible`
    OpenAiCompatible,
}

/// What is known of a provider that routes can use.
#[derive(Debug)]
pub struct ProviderFacts {
    /// The host that programs call, and that a route without `base_url` calls.
    pub host: &'static str,
    /// The environment variable in which programs look for a key.
    pub key_variable: &'static str,
    /// The header in which a key goes, in lower case.
    pub key_header: &'static str,
    /// What stands before the key in that header.
    pub key_prefix: &'static str,
    /// What a route opens.
    pub endpoints: &'static [Endpoint],
}

/// One inference endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its method; HEAD goes with GET.
    pub method: &'static str,
    /// Its path, as a path pattern.
    pub path: &'static str,
}

impl Endpoint {
    pub(crate) fn pattern(&self) -> Option<PathPattern> {
        PathPattern::parse(self.path).ok()
    }
}

const fn post(path: &'static str) -> Endpoint {
    Endpoint { method: "POST", path }
}

const fn get(path: &'static str) -> Endpoint {
    Endpoint { method: "GET", path }
}

static OPENAI: ProviderFacts = ProviderFacts {
    host: "api.openai.com",
    key_variable: "OPENAI_API_KEY",
    key_header: "authorization",
    key_prefix: "Bearer ",
    endpoints: &[
        post("/v1/chat/completions"),
        post("/v1/completions"),
        post("/v1/responses"),
        post("/v1/responses/compact"),
        post("/v1/responses/input_tokens"),
        post("/v1/embeddings"),
        post("/v1/moderations"),
        post("/v1/audio/speech"),
        post("/v1/audio/transcriptions"),
        post("/v1/audio/translations"),
        post("/v1/images/generations"),
        post("/v1/images/edits"),
        post("/v1/images/variations"),
        get("/v1/models"),
        get("/v1/models/*"),
    ],
};

static ANTHROPIC: ProviderFacts = ProviderFacts {
    host: "api.anthropic.com",
    key_variable: "ANTHROPIC_API_KEY",
    key_header: "x-api-key",
    key_prefix: "",
    endpoints: &[
        post("/v1/messages"),
        post("/v1/messages/count_tokens"),
        post("/v1/complete"),
        get("/v1/models"),
        get("/v1/models/*"),
    ],
};

impl Provider {
    /// Every provider, in the order in which help and errors list them.
    pub const ALL: [Provider; 10] = [
        Provider::OpenAi,
        Provider::Anthropic,
        Provider::Google,
        Provider::AzureOpenAi,
        Provider::Bedrock,
        Provider::OpenRouter,
        Provider::Mistral,
        Provider::Groq,
        Provider::Ollama,
        Provider::OpenAiCompatible,
    ];

    /// As written in a policy, and before `.llm.internal`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Provider::OpenAi => "openai",
            Provider::Anthropic => "anthropic",
            Provider::Google => "google",
            Provider::AzureOpenAi => "azure-openai",
            Provider::Bedrock => "bedrock",
            Provider::OpenRouter => "openrouter",
            Provider::Mistral => "mistral",
            Provider::Groq => "groq",
            Provider::Ollama => "ollama",
            Provider::OpenAiCompatible => "openai-compatible",
        }
    }

    /// What is known of it; none where routes to it are not supported yet.
    #[must_use]
    pub fn facts(self) -> Option<&'static ProviderFacts> {
        match self {
            Provider::OpenAi => Some(&OPENAI),
            Provider::Anthropic => Some(&ANTHROPIC),
            Provider::Google
            | Provider::AzureOpenAi
            | Provider::Bedrock
            | Provider::OpenRouter
            | Provider::Mistral
            | Provider::Groq
            | Provider::Ollama
            | Provider::OpenAiCompatible => None,
        }
    }

    /// Whether a route to it must say where its backend is.
    #[must_use]
    pub const fn needs_base_url(self) -> bool {
        matches!(self, Provider::AzureOpenAi | Provider::OpenAiCompatible)
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Provider;

    #[test]
    fn every_endpoint_is_a_pattern() {
        for facts in Provider::ALL.into_iter().filter_map(Provider::facts) {
            assert!(facts.endpoints.iter().all(|endpoint| endpoint.pattern().is_some()), "{}", facts.host);
        }
    }
}
