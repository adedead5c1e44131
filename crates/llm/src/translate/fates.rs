//! What becomes of each field of a request. The docs are written after these tables, and the code obeys them.

/// A field by its name in the asker's API.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is said in the backend's words.
    Carried,
    /// It is left out, because that changes nothing which the asker could see but cost and time.
    Ignored(&'static str),
    /// The request is refused, unless the value says what holds anyway.
    Refused {
        /// Such values, as JSON. `null` is always one.
        unless: &'static [&'static str],
        /// Why it cannot be said.
        why: &'static str,
    },
}

const fn carried(name: &'static str) -> Field {
    Field { name, fate: Fate::Carried }
}

const fn ignored(name: &'static str, why: &'static str) -> Field {
    Field { name, fate: Fate::Ignored(why) }
}

const fn refused(name: &'static str, unless: &'static [&'static str], why: &'static str) -> Field {
    Field { name, fate: Fate::Refused { unless, why } }
}

const CACHES_ALONE: &str =
    "what is cached decides cost and time alone, and the backend caches in its own way";
const NO_SUCH: &str = "there is no such thing there; leave it out";
const NO_STATE: &str = "the backend keeps nothing that it could refer to";
const OWN_SIDE: &str = "it runs on Anthropic's own side, which is not behind this route";

/// The fields of a request for messages.
pub const MESSAGES: &[Field] = &[
    carried("model"),
    carried("max_tokens"),
    carried("messages"),
    carried("system"),
    carried("metadata"),
    carried("output_config"),
    // As far as it is about earlier thoughts, of which none are sent.
    carried("context_management"),
    carried("stop_sequences"),
    carried("stream"),
    carried("temperature"),
    carried("thinking"),
    carried("tool_choice"),
    carried("tools"),
    carried("top_p"),
    ignored("cache_control", CACHES_ALONE),
    refused("top_k", &[], NO_SUCH),
    refused("service_tier", &["\"auto\""], "the backend's tiers are others"),
    refused("speed", &["\"standard\""], NO_SUCH),
    refused("inference_geo", &[], NO_SUCH),
    refused("container", &[], OWN_SIDE),
    refused("mcp_servers", &["[]"], OWN_SIDE),
    refused("compaction", &[], OWN_SIDE),
    refused("diagnostics", &[], NO_STATE),
    refused("thread", &[], NO_STATE),
    refused("fallbacks", &["[]"], NO_SUCH),
    refused("fallback_credit_token", &[], NO_SUCH),
    refused("billing_policy", &[], NO_SUCH),
    refused("user_profile_id", &[], NO_SUCH),
    refused("workspace_id", &[], NO_SUCH),
    refused("output_format", &[], "say it as `output_config.format`"),
];

/// The fields of a request for a chat completion.
pub const CHAT: &[Field] = &[
    carried("model"),
    carried("messages"),
    carried("max_tokens"),
    carried("max_completion_tokens"),
    carried("parallel_tool_calls"),
    carried("reasoning_effort"),
    carried("response_format"),
    carried("safety_identifier"),
    carried("stop"),
    carried("stream"),
    carried("stream_options"),
    carried("temperature"),
    carried("tool_choice"),
    carried("tools"),
    carried("top_p"),
    carried("user"),
    ignored("prompt_cache_key", CACHES_ALONE),
    ignored("prompt_cache_options", CACHES_ALONE),
    ignored("prompt_cache_retention", CACHES_ALONE),
    refused("n", &["1"], "an answer has one choice; ask as often as you want choices"),
    refused("logprobs", &["false"], "probabilities are not told"),
    refused("top_logprobs", &["0"], "probabilities are not told"),
    refused("logit_bias", &["{}"], NO_SUCH),
    refused("frequency_penalty", &["0", "0.0"], NO_SUCH),
    refused("presence_penalty", &["0", "0.0"], NO_SUCH),
    refused("seed", &[], NO_SUCH),
    refused("functions", &["[]"], "say it as `tools`"),
    refused("function_call", &[], "say it as `tool_choice`"),
    refused("modalities", &["[\"text\"]"], "answers are text"),
    refused("audio", &[], "answers are text"),
    refused("prediction", &[], NO_SUCH),
    refused("store", &["false"], NO_STATE),
    refused("metadata", &["{}"], "it is for stored completions, and none are stored"),
    refused("service_tier", &["\"auto\"", "\"default\""], "the backend's tiers are others"),
    refused("verbosity", &["\"medium\""], NO_SUCH),
    refused("web_search_options", &[], "OpenAI's own search is not behind this route"),
    refused("moderation", &[], NO_SUCH),
];

/// What stands with a block, a tool or a part of messages beside what it is.
pub(super) const BLOCK: &[Field] = &[
    ignored("cache_control", CACHES_ALONE),
    refused("citations", &["[]", "{\"enabled\":false}"], "sources are not cited there"),
    refused("transformations", &[], NO_SUCH),
    refused("caller", &["{\"type\":\"direct\"}"], OWN_SIDE),
    refused("toolset_name", &[], OWN_SIDE),
];

/// The same of chat completions.
pub(super) const PART: &[Field] = &[ignored("prompt_cache_breakpoint", CACHES_ALONE)];

/// What else a message of chat completions has, also one that an answer was kept as.
pub(super) const CHAT_MESSAGE: &[Field] = &[
    refused("name", &[], "who speaks has no name there"),
    refused("refusal", &[], "a refusal cannot be told as the model's own words"),
    refused("annotations", &["[]"], "sources are not cited there"),
    refused("audio", &[], "messages are text and images"),
    refused("function_call", &[], "say it as `tool_calls`"),
];

/// What else a tool of messages has.
pub(super) const TOOL: &[Field] = &[
    ignored("cache_control", CACHES_ALONE),
    ignored("eager_input_streaming", "it decides how soon pieces of a call come, not what they are"),
    refused("input_examples", &["[]"], "a function has no examples there; put them into its description"),
    refused("defer_loading", &["false"], OWN_SIDE),
    refused("allowed_callers", &["[\"direct\"]"], OWN_SIDE),
];

/// What else a JSON schema for an answer has.
pub(super) const JSON_SCHEMA: &[Field] = &[
    ignored("name", "it labels the schema and is told to nobody"),
    ignored("strict", "a schema is always kept to"),
    refused("description", &[], "put it into the schema's own `description`"),
];

/// What else `stream_options` has.
pub(super) const STREAM_OPTIONS: &[Field] = &[refused("include_obfuscation", &["false"], NO_SUCH)];

/// What else `thinking` has.
pub(super) const THINKING: &[Field] = &[];

/// Where nothing else may stand.
pub(super) const NOTHING: &[Field] = &[];

/// What a model thought is left out of what it is told again.
pub(super) const THOUGHTS: [&str; 2] = ["thinking", "redacted_thinking"];
