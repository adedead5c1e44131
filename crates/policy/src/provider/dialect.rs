//! The APIs that are spoken: where a response tells its model and its usage.

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
    pub usage: &'static [&'static [&'static str]],
    /// The figures whose sum is what was read; of one figure, the names that it goes by.
    pub input: &'static [&'static [&'static str]],
    /// The same for what was written.
    pub output: &'static [&'static [&'static str]],
}

/// Chat completions, completions, embeddings, responses.
pub(super) static OPENAI: Dialect = Dialect {
    wrappers: &["response"],
    model: "model",
    model_prefix: "",
    // Groq tells it in a place of its own, unless it is asked.
    usage: &[&["usage"], &["x_groq", "usage"]],
    input: &[&["prompt_tokens", "input_tokens"]],
    output: &[&["completion_tokens", "output_tokens"]],
};

/// Messages.
pub(super) static ANTHROPIC: Dialect = Dialect {
    wrappers: &["message"],
    model: "model",
    model_prefix: "",
    usage: &[&["usage"]],
    input: &[&["input_tokens"], &["cache_creation_input_tokens"], &["cache_read_input_tokens"]],
    output: &[&["output_tokens"]],
};

/// `generateContent` and its kin. What was read from a cache is in the prompt's figure already.
pub(super) static GOOGLE: Dialect = Dialect {
    wrappers: &[],
    model: "modelVersion",
    model_prefix: "models/",
    usage: &[&["usageMetadata"]],
    input: &[&["promptTokenCount"], &["toolUsePromptTokenCount"]],
    output: &[&["candidatesTokenCount"], &["thoughtsTokenCount"]],
};

/// Ollama's own, and the OpenAI dialect that it speaks beside it.
pub(super) static OLLAMA: Dialect = Dialect {
    wrappers: &["response"],
    model: "model",
    model_prefix: "",
    usage: &[&[], &["usage"]],
    input: &[&["prompt_eval_count", "prompt_tokens", "input_tokens"]],
    output: &[&["eval_count", "completion_tokens", "output_tokens"]],
};
