//! The APIs that are spoken: where a response tells its model and its usage, and what of a request its bytes do not
//! measure.

use super::spends::Place;

/// How a provider's API is spoken.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Keys under which an event of a stream holds the response.
    pub wrappers: &'static [&'static str],
    /// The key of the model that answered; none where the answer does not tell it as it is called.
    pub model: Option<&'static str>,
    /// What may stand before a model's name.
    pub model_prefix: &'static str,
    /// The objects that hold the figures, each as the keys from the root.
    pub usage: &'static [Place],
    /// The figures whose sum is what was read; of one figure, the names that it goes by.
    pub input: &'static [&'static [&'static str]],
    /// The same for what was written.
    pub output: &'static [&'static [&'static str]],
    /// Fields of a response that tell a figure, each with its key. Where there is one, they are taken and the body is not.
    pub fields: &'static [(&'static str, &'static str)],
    /// What of the read came out of a cache: keys from the usage on.
    pub cached: &'static [Place],
    /// What of the read was put into a cache: for a short time, or for any.
    pub stored: &'static [Place],
    /// What of that was put there for a long time.
    pub stored_long: &'static [Place],
    /// What ends a stream, as a key from the root and its value: the usage has come by then.
    pub ends: &'static [(&'static str, &'static str)],
    /// Keys anywhere in a body, or values of `type`, of what its bytes do not measure: pictures, sound, files.
    pub media: &'static [&'static str],
    /// Keys of a body that name what the provider keeps: it is read, too.
    pub kept: &'static [&'static str],
    /// Keys of a body that have the provider run tools of its own.
    pub runs: &'static [&'static str],
    /// Where lists of tools stand, and which of the entries the caller runs: by their `type`, a glob, or by a key that
    /// they have.
    pub tools: &'static [(Place, CallersTools)],
    /// Keys of a body that choose another price, and which values do not.
    pub tiers: &'static [(&'static str, &'static [&'static str])],
    /// Fields of a request that do.
    pub tier_fields: &'static [&'static str],
}

/// How a tool tells that the caller runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallersTools {
    /// By its `type`, one of these globs; without a type where that is one's own.
    Typed {
        /// The types.
        types: &'static [&'static str],
        /// Whether one without a type is the caller's.
        untyped: bool,
    },
    /// By its only keys.
    Keyed(&'static [&'static str]),
}

const TOOLS: Place = &["tools"];

const OPENAI_MEDIA: &[&str] = &[
    "image_url",
    "input_audio",
    "audio",
    "file",
    "file_id",
    "file_url",
    "file_data",
    "video_url",
    "images",
    "item_reference",
];

/// Chat completions, completions, embeddings, responses.
pub(super) static OPENAI: Dialect = Dialect {
    wrappers: &["response"],
    model: Some("model"),
    model_prefix: "",
    // Groq tells it in a place of its own, unless it is asked.
    usage: &[&["usage"], &["x_groq", "usage"]],
    input: &[&["prompt_tokens", "input_tokens"]],
    output: &[&["completion_tokens", "output_tokens"]],
    fields: &[],
    cached: &[&["prompt_tokens_details", "cached_tokens"], &["input_tokens_details", "cached_tokens"]],
    stored: &[],
    stored_long: &[],
    ends: &[
        ("", "DONE"),
        ("type", "response.completed"),
        ("type", "response.incomplete"),
        ("type", "response.failed"),
    ],
    media: OPENAI_MEDIA,
    kept: &["previous_response_id", "conversation", "prompt"],
    runs: &["web_search_options", "plugins", "search_settings", "compound_custom", "documents", "fallbacks"],
    tools: &[(
        TOOLS,
        CallersTools::Typed {
            types: &["function", "custom", "local_shell", "apply_patch", "computer", "computer_use*"],
            untyped: false,
        },
    )],
    tiers: &[("service_tier", &["auto", "default", "flex", "on_demand", "standard"])],
    tier_fields: &[],
};

/// Messages.
pub(super) static ANTHROPIC: Dialect = Dialect {
    wrappers: &["message"],
    model: Some("model"),
    model_prefix: "",
    usage: &[&["usage"]],
    input: &[&["input_tokens"], &["cache_creation_input_tokens"], &["cache_read_input_tokens"]],
    output: &[&["output_tokens"]],
    fields: &[],
    cached: &[&["cache_read_input_tokens"]],
    stored: &[&["cache_creation_input_tokens"]],
    stored_long: &[&["cache_creation", "ephemeral_1h_input_tokens"]],
    ends: &[("type", "message_stop")],
    media: &["source", "file_id"],
    kept: &[],
    runs: &["mcp_servers", "container", "fallbacks"],
    tools: &[(
        TOOLS,
        CallersTools::Typed {
            types: &["custom", "bash_*", "text_editor_*", "computer_*", "memory_*"],
            untyped: true,
        },
    )],
    tiers: &[
        ("service_tier", &["auto", "standard_only"]),
        ("speed", &["standard"]),
        ("inference_geo", &["global"]),
    ],
    tier_fields: &[],
};

/// `generateContent` and its kin. What was read from a cache is in the prompt's figure already.
pub(super) static GOOGLE: Dialect = Dialect {
    wrappers: &[],
    model: Some("modelVersion"),
    model_prefix: "models/",
    usage: &[&["usageMetadata"]],
    input: &[&["promptTokenCount"], &["toolUsePromptTokenCount"]],
    output: &[&["candidatesTokenCount"], &["thoughtsTokenCount"]],
    fields: &[],
    cached: &[&["cachedContentTokenCount"]],
    stored: &[],
    stored_long: &[],
    ends: &[],
    media: &["inlineData", "inline_data", "fileData", "file_data"],
    kept: &["cachedContent", "cached_content"],
    runs: &[],
    tools: &[(TOOLS, CallersTools::Keyed(&["functionDeclarations", "function_declarations"]))],
    tiers: &[("serviceTier", &["standard", "flex"]), ("service_tier", &["standard", "flex"])],
    tier_fields: &[],
};

/// Ollama's own, and the OpenAI dialect that it speaks beside it.
pub(super) static OLLAMA: Dialect = Dialect {
    wrappers: &["response"],
    model: Some("model"),
    model_prefix: "",
    usage: &[&[], &["usage"]],
    input: &[&["prompt_eval_count", "prompt_tokens", "input_tokens"]],
    output: &[&["eval_count", "completion_tokens", "output_tokens"]],
    fields: &[],
    cached: &[],
    stored: &[],
    stored_long: &[],
    ends: &[
        ("", "DONE"),
        ("done", "true"),
        ("type", "response.completed"),
        ("type", "response.incomplete"),
        ("type", "response.failed"),
    ],
    media: OPENAI_MEDIA,
    kept: &["context", "previous_response_id", "conversation"],
    runs: &["web_search_options"],
    tools: &[(TOOLS, CallersTools::Typed { types: &["function", "custom"], untyped: true })],
    tiers: &[],
    tier_fields: &[],
};

const BEDROCKS_TOOLS: CallersTools = CallersTools::Keyed(&["toolSpec", "cachePoint"]);
const MAKERS_TOOLS: CallersTools = CallersTools::Typed {
    types: &["function", "custom", "bash_*", "text_editor_*", "computer_*", "memory_*"],
    untyped: true,
};

/// `converse`, and what the makers of the models have in `invoke`. What was read from or into a cache comes on top.
pub(super) static BEDROCK: Dialect = Dialect {
    wrappers: &["message"],
    model: None,
    model_prefix: "",
    usage: &[&["usage"], &["amazon-bedrock-invocationMetrics"]],
    input: &[
        &["inputTokens", "input_tokens", "inputTokenCount"],
        &["cacheWriteInputTokens", "cache_creation_input_tokens", "cacheWriteInputTokenCount"],
        &["cacheReadInputTokens", "cache_read_input_tokens", "cacheReadInputTokenCount"],
    ],
    output: &[&["outputTokens", "output_tokens", "outputTokenCount"]],
    fields: &[
        ("x-amzn-bedrock-input-token-count", "inputTokenCount"),
        ("x-amzn-bedrock-cache-write-input-token-count", "cacheWriteInputTokenCount"),
        ("x-amzn-bedrock-cache-read-input-token-count", "cacheReadInputTokenCount"),
        ("x-amzn-bedrock-output-token-count", "outputTokenCount"),
    ],
    cached: &[&["cacheReadInputTokens"], &["cache_read_input_tokens"], &["cacheReadInputTokenCount"]],
    stored: &[&["cacheWriteInputTokens"], &["cache_creation_input_tokens"], &["cacheWriteInputTokenCount"]],
    stored_long: &[&["cache_creation", "ephemeral_1h_input_tokens"]],
    ends: &[("type", "message_stop")],
    media: &[
        "image",
        "images",
        "inputImage",
        "document",
        "video",
        "audio",
        "source",
        "s3Location",
        "image_url",
    ],
    kept: &["promptVariables"],
    runs: &["mcp_servers", "container"],
    tools: &[
        (&["toolConfig", "tools"], BEDROCKS_TOOLS),
        (TOOLS, MAKERS_TOOLS),
        (&["additionalModelRequestFields", "tools"], MAKERS_TOOLS),
    ],
    tiers: &[("serviceTier", &[]), ("performanceConfig", &[]), ("service_tier", &["auto", "default"])],
    tier_fields: &["x-amzn-bedrock-service-tier", "x-amzn-bedrock-performanceconfig-latency"],
};
