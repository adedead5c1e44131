//! The table. Programs, docs and tests walk it; nothing else knows one provider from another.

use super::{
    Conversation, Endpoint, Provider, ProviderFacts, Signs, Spends, Words, dialect,
    spends::{
        CHAT, CHAT_OR_OLD, COMPLETE, COMPLETION, CONVERSE, GENERATE, INVOKE, MESSAGES, OLD_CHAT, OLLAMA_CALL,
        RESPONSES,
    },
};

pub(super) fn of(provider: Provider) -> &'static ProviderFacts {
    match provider {
        Provider::OpenAi => &OPENAI,
        Provider::Anthropic => &ANTHROPIC,
        Provider::Google => &GOOGLE,
        Provider::AzureOpenAi => &AZURE_OPENAI,
        Provider::Bedrock => &BEDROCK,
        Provider::OpenRouter => &OPENROUTER,
        Provider::Mistral => &MISTRAL,
        Provider::Groq => &GROQ,
        Provider::Ollama => &OLLAMA,
        Provider::OpenAiCompatible => &OPENAI_COMPATIBLE,
    }
}

const fn post(path: &'static str, spends: Spends) -> Endpoint {
    Endpoint { method: "POST", path, asks_usage: false, spends }
}

/// An endpoint that tells the usage of a stream only when asked.
const fn asked(path: &'static str, spends: Spends) -> Endpoint {
    Endpoint { method: "POST", path, asks_usage: true, spends }
}

const fn get(path: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, asks_usage: false, spends: Spends::Nothing }
}

const fn chat(path: &'static str, most_tokens: &'static str) -> Option<Conversation> {
    Some(Conversation { words: Words::Chat { most_tokens }, path })
}
use Spends::{Nothing, Reads, Untold};

/// What most have in common.
const PLAIN: ProviderFacts = ProviderFacts {
    host: None,
    base: "/v1",
    inner: "/v1",
    backend: None,
    key_variable: None,
    key_header: "authorization",
    key_prefix: "Bearer ",
    key_signs: None,
    key_parameter: None,
    body_type: None,
    dialect: &dialect::OPENAI,
    more_models: &[],
    hidden_models: &["fallbacks"],
    // Servers like OpenAI's own have the older name of the bound.
    conversation: chat("/chat/completions", "max_tokens"),
    endpoints: &[],
};

static OPENAI: ProviderFacts = ProviderFacts {
    host: Some("api.openai.com"),
    key_variable: Some("OPENAI_API_KEY"),
    conversation: chat("/chat/completions", "max_completion_tokens"),
    endpoints: &[
        asked("/chat/completions", CHAT),
        asked("/completions", COMPLETION),
        post("/responses", RESPONSES),
        post("/responses/compact", RESPONSES),
        post("/responses/input_tokens", Nothing),
        post("/embeddings", Reads),
        post("/moderations", Nothing),
        post("/audio/speech", Untold),
        post("/audio/transcriptions", Untold),
        post("/audio/translations", Untold),
        post("/images/generations", Untold),
        post("/images/edits", Untold),
        post("/images/variations", Untold),
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
        post("/v1/messages", MESSAGES),
        post("/v1/messages/count_tokens", Nothing),
        post("/v1/complete", COMPLETE),
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
        post("/v1beta/models/{model}:generateContent", GENERATE),
        post("/v1beta/models/{model}:streamGenerateContent", GENERATE),
        post("/v1beta/models/{model}:countTokens", Nothing),
        get("/v1beta/models"),
        get("/v1beta/models/{model}"),
        post("/v1/models/{model}:generateContent", GENERATE),
        post("/v1/models/{model}:streamGenerateContent", GENERATE),
        post("/v1/models/{model}:countTokens", Nothing),
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
        asked("/openai/deployments/{model}/chat/completions", CHAT),
        asked("/openai/deployments/{model}/completions", COMPLETION),
        post("/openai/deployments/{model}/embeddings", Reads),
        post("/openai/deployments/{model}/audio/speech", Untold),
        post("/openai/deployments/{model}/audio/transcriptions", Untold),
        post("/openai/deployments/{model}/audio/translations", Untold),
        post("/openai/deployments/{model}/images/generations", Untold),
        post("/openai/deployments/{model}/images/edits", Untold),
        post("/openai/responses", RESPONSES),
        asked("/openai/v1/chat/completions", CHAT),
        asked("/openai/v1/completions", COMPLETION),
        post("/openai/v1/embeddings", Reads),
        post("/openai/v1/responses", RESPONSES),
        get("/openai/models"),
        get("/openai/v1/models"),
        get("/openai/v1/models/{model}"),
    ],
    ..PLAIN
};

/// Every region has a host, by `base_url`. A key of Amazon's signs, and one of Bedrock's own goes in the header.
static BEDROCK: ProviderFacts = ProviderFacts {
    base: "",
    inner: "",
    key_signs: Some(&Signs { service: "bedrock", host: "bedrock-runtime" }),
    body_type: Some("application/json"),
    dialect: &dialect::BEDROCK,
    conversation: None,
    endpoints: &[
        post("/model/{model}/converse", CONVERSE),
        post("/model/{model}/converse-stream", CONVERSE),
        post("/model/{model}/invoke", INVOKE),
        post("/model/{model}/invoke-with-response-stream", INVOKE),
        post("/model/{model}/count-tokens", Nothing),
    ],
    ..PLAIN
};

static OPENROUTER: ProviderFacts = ProviderFacts {
    host: Some("openrouter.ai"),
    base: "/api/v1",
    key_variable: Some("OPENROUTER_API_KEY"),
    more_models: &["models"],
    hidden_models: &["preset", "plugins", "fallbacks"],
    endpoints: &[
        asked("/chat/completions", CHAT_OR_OLD),
        asked("/completions", COMPLETION),
        post("/responses", RESPONSES),
        post("/embeddings", Reads),
        get("/models"),
    ],
    ..PLAIN
};

/// Tells the usage of a stream by itself, and refuses a request that asks for it.
static MISTRAL: ProviderFacts = ProviderFacts {
    host: Some("api.mistral.ai"),
    key_variable: Some("MISTRAL_API_KEY"),
    endpoints: &[
        post("/chat/completions", OLD_CHAT),
        post("/fim/completions", COMPLETION),
        post("/embeddings", Reads),
        post("/moderations", Reads),
        post("/chat/moderations", Reads),
        post("/audio/transcriptions", Untold),
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
        asked("/chat/completions", CHAT),
        post("/responses", RESPONSES),
        post("/audio/speech", Untold),
        post("/audio/transcriptions", Untold),
        post("/audio/translations", Untold),
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
        post("/api/chat", OLLAMA_CALL),
        post("/api/generate", OLLAMA_CALL),
        post("/api/embed", Reads),
        post("/api/embeddings", Reads),
        get("/api/tags"),
        get("/api/version"),
        asked("/v1/chat/completions", CHAT_OR_OLD),
        asked("/v1/completions", COMPLETION),
        post("/v1/responses", RESPONSES),
        post("/v1/embeddings", Reads),
        get("/v1/models"),
        get("/v1/models/{model}"),
    ],
    ..PLAIN
};

static OPENAI_COMPATIBLE: ProviderFacts = ProviderFacts {
    key_variable: Some("OPENAI_API_KEY"),
    endpoints: &[
        asked("/chat/completions", CHAT_OR_OLD),
        asked("/completions", COMPLETION),
        post("/responses", RESPONSES),
        post("/embeddings", Reads),
        post("/audio/speech", Untold),
        post("/audio/transcriptions", Untold),
        post("/audio/translations", Untold),
        post("/images/generations", Untold),
        get("/models"),
        get("/models/{model}"),
    ],
    ..PLAIN
};
