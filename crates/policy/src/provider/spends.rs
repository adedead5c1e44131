//! What bounds a call: where a body says how much may be written, and what in it is not measured by its bytes.

/// What a call of an endpoint costs at most, as far as its body tells.
#[derive(Clone, Copy, Debug)]
pub enum Spends {
    /// Nothing: lists, counts of tokens.
    Nothing,
    /// What it reads.
    Reads,
    /// What it reads, and what it writes.
    Writes(&'static Writes),
    /// Something that its body does not tell: seconds of sound, pictures.
    Untold,
}

/// A key, as the keys from the root.
pub type Place = &'static [&'static str];

/// Where a body bounds what is written.
#[derive(Debug)]
pub struct Writes {
    /// Where the most of one answer stands; every server of the API keeps to each of these.
    pub most: &'static [Place],
    /// The same where only some models keep to it: a glob of their names, and the place.
    pub most_of: &'static [(&'static str, Place)],
    /// Where it may stand too, for some servers: it never makes the bound smaller.
    pub also: &'static [Place],
    /// Where it says how many answers are written.
    pub answers: &'static [Place],
    /// A key whose list holds one question each.
    pub questions: Option<&'static str>,
    /// Keys whose text may be charged as written.
    pub charged: &'static [&'static str],
}

const PLAIN: Writes =
    Writes { most: &[], most_of: &[], also: &[], answers: &[], questions: None, charged: &[] };

/// Chat completions of those who know both names.
pub(super) const CHAT: Spends = Spends::Writes(&Writes {
    most: &[&["max_completion_tokens"], &["max_tokens"]],
    answers: &[&["n"]],
    charged: &["prediction"],
    ..PLAIN
});

/// Chat completions of those who may know the older name alone.
pub(super) const CHAT_OR_OLD: Spends = Spends::Writes(&Writes {
    most: &[&["max_tokens"]],
    also: &[&["max_completion_tokens"]],
    answers: &[&["n"], &["best_of"]],
    charged: &["prediction"],
    ..PLAIN
});

/// Chat completions of those who know the older name alone.
pub(super) const OLD_CHAT: Spends = Spends::Writes(&Writes {
    most: &[&["max_tokens"]],
    answers: &[&["n"]],
    charged: &["prediction"],
    ..PLAIN
});

/// Completions. A list of prompts is answered one by one.
pub(super) const COMPLETION: Spends = Spends::Writes(&Writes {
    most: &[&["max_tokens"]],
    also: &[&["max_completion_tokens"]],
    answers: &[&["n"], &["best_of"]],
    questions: Some("prompt"),
    ..PLAIN
});

/// Responses.
pub(super) const RESPONSES: Spends = Spends::Writes(&Writes { most: &[&["max_output_tokens"]], ..PLAIN });

/// Messages.
pub(super) const MESSAGES: Spends = Spends::Writes(&Writes { most: &[&["max_tokens"]], ..PLAIN });

/// Anthropic's older completions.
pub(super) const COMPLETE: Spends = Spends::Writes(&Writes { most: &[&["max_tokens_to_sample"]], ..PLAIN });

/// `generateContent` and its kin, in both spellings that they take.
pub(super) const GENERATE: Spends = Spends::Writes(&Writes {
    most: &[
        &["generationConfig", "maxOutputTokens"],
        &["generationConfig", "max_output_tokens"],
        &["generation_config", "maxOutputTokens"],
        &["generation_config", "max_output_tokens"],
    ],
    answers: &[
        &["generationConfig", "candidateCount"],
        &["generationConfig", "candidate_count"],
        &["generation_config", "candidateCount"],
        &["generation_config", "candidate_count"],
    ],
    ..PLAIN
});

/// `converse` and its stream. What stands in a model's own fields may go over it.
pub(super) const CONVERSE: Spends = Spends::Writes(&Writes {
    most: &[&["inferenceConfig", "maxTokens"]],
    also: &[
        &["additionalModelRequestFields", "max_tokens"],
        &["additionalModelRequestFields", "max_completion_tokens"],
        &["additionalModelRequestFields", "max_new_tokens"],
        &["additionalModelRequestFields", "max_gen_len"],
        &["additionalModelRequestFields", "maxTokens"],
    ],
    ..PLAIN
});

/// `invoke` and its stream, in the words of the model's maker: each knows one of these and may pass over the others.
pub(super) const INVOKE: Spends = Spends::Writes(&Writes {
    most_of: &[("anthropic.*", &["max_tokens"]), ("*.anthropic.*", &["max_tokens"])],
    also: &[
        &["max_tokens"],
        &["max_completion_tokens"],
        &["max_gen_len"],
        &["max_tokens_to_sample"],
        &["maxTokens"],
        &["inferenceConfig", "maxTokens"],
        &["inferenceConfig", "max_new_tokens"],
        &["textGenerationConfig", "maxTokenCount"],
    ],
    ..PLAIN
});

/// Ollama's own.
pub(super) const OLLAMA_CALL: Spends =
    Spends::Writes(&Writes { most: &[&["options", "num_predict"]], ..PLAIN });
