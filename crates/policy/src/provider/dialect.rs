//! The APIs that are spoken: where a response tells its model and its usage, and what of a request its bytes do not
//! measure.

use super::spends::Place;

/// How a provider's API is spoken.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Keys under which an event of a stream holds the response.
    pub wrappers: &'static [&'static str],
    /// The key of the model that answered.
    pub model: &'static str,
    /// What may stand before a model's name.
    pub model_prefix: &'static str,
    /// The objects that hold the figures, each as the keys from the root.
    pub usage: &'static [Place],
    /// The figures whose sum is what was read; of one figure, the names that it goes by.
    pub input: &'static [&'static [&'static str]],
    /// The same for what was written.
    pub output: &'static [&'static [&'static str]],
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
    /// Of the entries in `tools`, which ones the caller runs: by their `type`, a glob, or by a key that they have.
    pub callers_tools: CallersTools,
    /// Keys of a body that choose another price, and which values do not.
    pub tiers: &'static [(&'static str, &'static [&'static str])],
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
    model: "model",
    model_prefix: "",
    // Groq tells it in a place of its own, unless it is asked.
    usage: &[&["usage"], &["x_groq", "usage"]],
    input: &[&["prompt_tokens", "input_tokens"]],
    output: &[&["completion_tokens", "output_tokens"]],
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
    callers_tools: CallersTools::Typed {
        types: &["function", "custom", "local_shell", "apply_patch", "computer", "computer_use*"],
        untyped: false,
    },
    tiers: &[("service_tier", &["auto", "default", "flex", "on_demand", "standard"])],
};

/// Messages.
pub(super) static ANTHROPIC: Dialect = Dialect {
    wrappers: &["message"],
    model: "model",
    model_prefix: "",
    usage: &[&["usage"]],
    input: &[&["input_tokens"], &["cache_creation_input_tokens"], &["cache_read_input_tokens"]],
    output: &[&["output_tokens"]],
    cached: &[&["cache_read_input_tokens"]],
    stored: &[&["cache_creation_input_tokens"]],
    stored_long: &[&["cache_creation", "ephemeral_1h_input_tokens"]],
    ends: &[("type", "message_stop")],
    media: &["source", "file_id"],
    kept: &[],
    runs: &["mcp_servers", "container", "fallbacks"],
    callers_tools: CallersTools::Typed {
        types: &["custom", "bash_*", "text_editor_*", "computer_*", "memory_*"],
        untyped: true,
    },
    tiers: &[
        ("service_tier", &["auto", "standard_only"]),
        ("speed", &["standard"]),
        ("inference_geo", &["global"]),
    ],
};

/// `generateContent` and its kin. What was read from a cache is in the prompt's figure already.
pub(super) static GOOGLE: Dialect = Dialect {
    wrappers: &[],
    model: "modelVersion",
    model_prefix: "models/",
    usage: &[&["usageMetadata"]],
    input: &[&["promptTokenCount"], &["toolUsePromptTokenCount"]],
    output: &[&["candidatesTokenCount"], &["thoughtsTokenCount"]],
    cached: &[&["cachedContentTokenCount"]],
    stored: &[],
    stored_long: &[],
    ends: &[],
    media: &["inlineData", "inline_data", "fileData", "file_data"],
    kept: &["cachedContent", "cached_content"],
    runs: &[],
    callers_tools: CallersTools::Keyed(&["functionDeclarations", "function_declarations"]),
    tiers: &[("serviceTier", &["standard", "flex"]), ("service_tier", &["standard", "flex"])],
};

/// Ollama's own, and the OpenAI dialect that it speaks beside it.
pub(super) static OLLAMA: Dialect = Dialect {
    wrappers: &["response"],
    model: "model",
    model_prefix: "",
    usage: &[&[], &["usage"]],
    input: &[&["prompt_eval_count", "prompt_tokens", "input_tokens"]],
    output: &[&["eval_count", "completion_tokens", "output_tokens"]],
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
    callers_tools: CallersTools::Typed { types: &["function", "custom"], untyped: true },
    tiers: &[],
};
