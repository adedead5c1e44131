//! The table. Programs, docs and tests walk it; nothing else knows one provider from another.

use super::{Conversation, Endpoint, Provider, ProviderFacts, Words, dialect};

pub(super) fn of(provider: Provider) -> Option<&'static ProviderFacts> {
    match provider {
        Provider::OpenAi => Some(&OPENAI),
        Provider::Anthropic => Some(&ANTHROPIC),
        Provider::Google => Some(&GOOGLE),
        Provider::AzureOpenAi => Some(&AZURE_OPENAI),
        // Its requests are signed, which nothing of ours does yet.
        Provider::Bedrock => None,
        Provider::OpenRouter => Some(&OPENROUTER),
        Provider::Mistral => Some(&MISTRAL),
        Provider::Groq => Some(&GROQ),
        Provider::Ollama => Some(&OLLAMA),
        Provider::OpenAiCompatible => Some(&OPENAI_COMPATIBLE),
    }
}

const fn post(path: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, asks_usage: false }
}

/// An endpoint that tells the usage of a stream only when asked.
const fn asked(path: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, asks_usage: true }
}

const fn get(path: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, asks_usage: false }
}

const fn chat(path: &'static str, most_tokens: &'static str) -> Option<Conversation> {
    Some(Conversation { words: Words::Chat { most_tokens }, path })
}

/// What most have in common.
const PLAIN: ProviderFacts = ProviderFacts {
    host: None,
    base: "/v1",
    inner: "/v1",
    backend: None,
    key_variable: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    key_parameter: None,
    dialect: &dialect::OPENAI,
    more_models: &[],
    hidden_models: &[],
    // Servers like OpenAI's own have the older name of the bound.
    conversation: chat("/chat/completions", "max_tokens"),
    endpoints: &[],
};

static OPENAI: ProviderFacts = ProviderFacts {
    host: Some("api.openai.com"),
    key_variable: Some("OPENAI_API_KEY"),
    conversation: chat("/chat/completions", "max_completion_tokens"),
    endpoints: &[
        asked("/chat/completions"),
        asked("/completions"),
        post("/responses"),
        post("/responses/compact"),
        post("/responses/input_tokens"),
        post("/embeddings"),
        post("/moderations"),
        post("/audio/speech"),
        post("/audio/transcriptions"),
        post("/audio/translations"),
        post("/images/generations"),
        post("/images/edits"),
        post("/images/variations"),
        get("/models"),
        get("/models/{model}"),
    ],
    ..PLAIN
};

static ANTHROPIC: ProviderFacts = ProviderFacts {
    host: Some("api.anthropic.com"),
    base: "",
    inner: "",
    key_variable: Some("ANTHROPIC_API_KEY"),
    key_header: "x-api-key",
    key_prefix: "",
    dialect: &dialect::ANTHROPIC,
    conversation: Some(Conversation { words: Words::Messages, path: "/v1/messages" }),
    endpoints: &[
        post("/v1/messages"),
        post("/v1/messages/count_tokens"),
        post("/v1/complete"),
        get("/v1/models"),
        get("/v1/models/{model}"),
    ],
    ..PLAIN
};

static GOOGLE: ProviderFacts = ProviderFacts {
    host: Some("generativelanguage.googleapis.com"),
    base: "",
    inner: "",
    key_variable: Some("GEMINI_API_KEY"),
    key_header: "x-goog-api-key",
    key_prefix: "",
    key_parameter: Some("key"),
    dialect: &dialect::GOOGLE,
    conversation: None,
    endpoints: &[
        post("/v1beta/models/{model}:generateContent"),
        post("/v1beta/models/{model}:streamGenerateContent"),
        post("/v1beta/models/{model}:countTokens"),
        get("/v1beta/models"),
        get("/v1beta/models/{model}"),
        post("/v1/models/{model}:generateContent"),
        post("/v1/models/{model}:streamGenerateContent"),
        post("/v1/models/{model}:countTokens"),
        get("/v1/models"),
        get("/v1/models/{model}"),
    ],
    ..PLAIN
};

/// Every customer has a host, by `base_url`; the model is the deployment.
static AZURE_OPENAI: ProviderFacts = ProviderFacts {
    base: "",
    inner: "",
    key_variable: Some("AZURE_OPENAI_API_KEY"),
    key_header: "api-key",
    key_prefix: "",
    conversation: chat("/openai/v1/chat/completions", "max_completion_tokens"),
    endpoints: &[
        asked("/openai/deployments/{model}/chat/completions"),
        asked("/openai/deployments/{model}/completions"),
        post("/openai/deployments/{model}/embeddings"),
        post("/openai/deployments/{model}/audio/speech"),
        post("/openai/deployments/{model}/audio/transcriptions"),
        post("/openai/deployments/{model}/audio/translations"),
        post("/openai/deployments/{model}/images/generations"),
        post("/openai/deployments/{model}/images/edits"),
        post("/openai/responses"),
        asked("/openai/v1/chat/completions"),
        asked("/openai/v1/completions"),
        post("/openai/v1/embeddings"),
        post("/openai/v1/responses"),
        get("/openai/models"),
        get("/openai/v1/models"),
        get("/openai/v1/models/{model}"),
    ],
    ..PLAIN
};

static OPENROUTER: ProviderFacts = ProviderFacts {
    host: Some("openrouter.ai"),
    base: "/api/v1",
    key_variable: Some("OPENROUTER_API_KEY"),
    more_models: &["models"],
    hidden_models: &["preset", "plugins"],
    endpoints: &[
        asked("/chat/completions"),
        asked("/completions"),
        post("/responses"),
        post("/embeddings"),
        get("/models"),
    ],
    ..PLAIN
};

/// Tells the usage of a stream by itself, and refuses a request that asks for it.
static MISTRAL: ProviderFacts = ProviderFacts {
    host: Some("api.mistral.ai"),
    key_variable: Some("MISTRAL_API_KEY"),
    endpoints: &[
        post("/chat/completions"),
        post("/fim/completions"),
        post("/embeddings"),
        post("/moderations"),
        post("/chat/moderations"),
        post("/audio/transcriptions"),
        get("/models"),
        get("/models/{model}"),
    ],
    ..PLAIN
};

static GROQ: ProviderFacts = ProviderFacts {
    host: Some("api.groq.com"),
    base: "/openai/v1",
    key_variable: Some("GROQ_API_KEY"),
    endpoints: &[
        asked("/chat/completions"),
        post("/responses"),
        post("/audio/speech"),
        post("/audio/transcriptions"),
        post("/audio/translations"),
        get("/models"),
        get("/models/{model}"),
    ],
    ..PLAIN
};

/// On the operator's own machine, so that `[llm] allow` has to open it. It has no keys; a server before it may.
static OLLAMA: ProviderFacts = ProviderFacts {
    base: "",
    inner: "",
    backend: Some("http://127.0.0.1:11434"),
    dialect: &dialect::OLLAMA,
    conversation: chat("/v1/chat/completions", "max_tokens"),
    endpoints: &[
        post("/api/chat"),
        post("/api/generate"),
        post("/api/embed"),
        post("/api/embeddings"),
        get("/api/tags"),
        get("/api/version"),
        asked("/v1/chat/completions"),
        asked("/v1/completions"),
        post("/v1/responses"),
        post("/v1/embeddings"),
        get("/v1/models"),
        get("/v1/models/{model}"),
    ],
    ..PLAIN
};

static OPENAI_COMPATIBLE: ProviderFacts = ProviderFacts {
    key_variable: Some("OPENAI_API_KEY"),
    endpoints: &[
        asked("/chat/completions"),
        asked("/completions"),
        post("/responses"),
        post("/embeddings"),
        post("/audio/speech"),
        post("/audio/transcriptions"),
        post("/audio/translations"),
        post("/images/generations"),
        get("/models"),
        get("/models/{model}"),
    ],
    ..PLAIN
};
