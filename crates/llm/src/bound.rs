//! The most that a call can cost, told from its body before it is sent.
//!
//! A token is at least one byte of text, so that a body holds no more tokens than bytes; what its bytes do not measure
//! (pictures, files, what the provider keeps) is at most what the model can read at all. What is written is bounded by
//! the body's own word, else by what the model can write. A call for which a provider runs tools of its own is bounded
//! by nothing.

use chiton_policy::{CallersTools, Dialect, Endpoint, Place, ProviderFacts, Spends, TextGlob, Writes};
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    RequestError,
    request::{Object, is_spelled_as},
};

/// What a model reads and writes at most, where nothing is known of it.
const CONTEXT: u64 = 2 << 20;
const OUTPUT: u64 = 128 << 10;
/// What is added to what a caller writes: the words around messages, and those that explain tools to a model.
const AROUND: u64 = 512;
const AROUND_TOOLS: u64 = 4096;

/// What is known of the models of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows {
    /// How many tokens they read at most.
    pub context: Option<u64>,
    /// How many they write in one answer at most.
    pub max_output: Option<u64>,
}

/// What a call reads and writes at most, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Read.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// The key by which it asks for another price than the standard one.
    pub tier: Option<&'static str>,
}

/// Why a call has no bound.
#[derive(Debug, thiserror::Error)]
pub enum BoundError {
    /// Two servers could read it differently.
    #[error(transparent)]
    Ambiguous(#[from] RequestError),
    /// It is charged by something else.
    #[error("what a call of `{0}` costs is not told in tokens")]
    Untold(&'static str),
    /// The provider runs a tool.
    #[error("a tool (`{0}`) runs at the provider, where nothing bounds what it reads; leave it out")]
    Tool(String),
    /// The provider runs something.
    #[error("`{0}` has the provider run what nothing bounds; leave it out")]
    Runs(&'static str),
}

impl Bound {
    /// Both together.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Of a body, as it is sent to these models.
    ///
    /// # Errors
    /// When it says twice what may be said once, or has nothing that bounds it.
    pub fn of(
        facts: &'static ProviderFacts,
        endpoint: &'static Endpoint,
        models: &[&str],
        windows: Windows,
        body: &[u8],
    ) -> Result<Self, BoundError> {
        let writes = match endpoint.spends {
            Spends::Nothing => return Ok(Self::default()),
            Spends::Untold => return Err(BoundError::Untold(endpoint.path)),
            Spends::Reads => None,
            Spends::Writes(writes) => Some(writes),
        };
        let object: Object<'_> = serde_json::from_slice(body).map_err(RequestError::NotAnObject)?;
        let dialect = facts.dialect;
        for key in dialect.runs {
            object.refuse_repeated(key)?;
            if is_set(object.raw(key)) {
                return Err(BoundError::Runs(key));
            }
        }
        let tools = tools(dialect, &object)?;
        let mut input_tokens = (body.len() as u64).saturating_add(if tools { AROUND_TOOLS } else { AROUND });
        let questions = writes.and_then(|writes| writes.questions);
        let kept = |key: &&&str| questions != Some(**key) && is_set(object.raw(key));
        if dialect.kept.iter().any(|key| kept(&key)) || has_media(dialect, body)? {
            input_tokens = input_tokens.max(windows.context.unwrap_or(CONTEXT));
        }
        let output_tokens = match writes {
            Some(writes) => written(writes, &object, models, windows)?,
            None => 0,
        };
        Ok(Self { input_tokens, output_tokens, tier: tier(dialect, &object)? })
    }
}

fn is_set(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| !matches!(raw.get(), "null" | "false" | "[]" | "{}" | "\"\""))
}

/// Whether there are tools. An error where one of them is not the caller's to run.
fn tools(dialect: &Dialect, object: &Object<'_>) -> Result<bool, BoundError> {
    let mut any = false;
    for (place, callers) in dialect.tools {
        any |= tools_at(place, *callers, object)?;
    }
    Ok(any)
}

fn tools_at(place: Place, callers: CallersTools, object: &Object<'_>) -> Result<bool, BoundError> {
    let Some((key, rest)) = place.split_first() else { return Ok(false) };
    object.refuse_repeated(key)?;
    let Some(raw) = object.raw(key).filter(|raw| is_set(Some(raw))) else { return Ok(false) };
    if !rest.is_empty() {
        let wrong = |_| RequestError::WrongType(key, "an object");
        return tools_at(rest, callers, &serde_json::from_str(raw.get()).map_err(wrong)?);
    }
    let wrong = |_| RequestError::WrongType(key, "a list of objects");
    let tools: Vec<Object<'_>> = serde_json::from_str(raw.get()).map_err(wrong)?;
    for tool in &tools {
        tool.refuse_repeated("type")?;
        let kind = tool.raw("type").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let is_callers = match callers {
            CallersTools::Typed { types, untyped } => match &kind {
                Some(kind) => types.iter().any(|known| TextGlob::new(known).matches(kind.as_bytes())),
                None => untyped && tool.raw("type").is_none(),
            },
            CallersTools::Keyed(keys) => tool.0.iter().all(|(name, _)| keys.contains(&&**name)),
        };
        if !is_callers {
            let named = kind.or_else(|| tool.0.first().map(|(name, _)| name.to_string())).unwrap_or_default();
            return Err(BoundError::Tool(named.chars().filter(char::is_ascii_graphic).take(60).collect()));
        }
    }
    Ok(true)
}

/// What may be written.
fn written(
    writes: &Writes,
    object: &Object<'_>,
    models: &[&str],
    windows: Windows,
) -> Result<u64, RequestError> {
    let of_all = |glob: &str| {
        let glob = TextGlob::new(glob);
        !models.is_empty() && models.iter().all(|model| glob.matches(model.as_bytes()))
    };
    let (mut most, also) = (largest(writes.most, object)?, largest(writes.also, object)?);
    for (_, place) in writes.most_of.iter().filter(|(glob, _)| of_all(glob)) {
        most = most.max(number_at(place, object)?);
    }
    let all = || windows.max_output.unwrap_or(OUTPUT);
    let one = match most.max(also) {
        Said::Unbounded => all(),
        Said::Nothing | Said::Number(_) => most.number().unwrap_or_else(all).max(also.number().unwrap_or(0)),
    };
    let mut answers = 1;
    for place in writes.answers {
        answers = answers.max(number_at(place, object)?.number().unwrap_or(1));
    }
    let mut questions = 1;
    if let Some(key) = writes.questions {
        object.refuse_repeated(key)?;
        let list = object.raw(key).and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        // A list of numbers is one question, written in tokens.
        let of_numbers = |list: &Vec<&RawValue>| {
            list.iter().all(|raw| raw.get().bytes().all(|byte| byte.is_ascii_digit()))
        };
        questions = list.filter(|list| !of_numbers(list)).map_or(1, |list| list.len() as u64);
    }
    let charged = writes.charged.iter().filter_map(|key| object.raw(key)).map(|raw| raw.get().len() as u64);
    let all = one.saturating_mul(answers).saturating_mul(questions.max(1));
    Ok(charged.fold(all, u64::saturating_add))
}

/// What the places of a number say together; the later ones count for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Nothing,
    Number(u64),
    /// None or less: to some servers no bound at all.
    Unbounded,
}

impl Said {
    const fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Nothing | Self::Unbounded => None,
        }
    }
}

/// The largest of the numbers at these places.
fn largest(places: &'static [Place], object: &Object<'_>) -> Result<Said, RequestError> {
    let mut largest = Said::Nothing;
    for place in places {
        largest = largest.max(number_at(place, object)?);
    }
    Ok(largest)
}

/// A number, where one stands.
fn number_at(place: Place, object: &Object<'_>) -> Result<Said, RequestError> {
    let Some((key, rest)) = place.split_first() else { return Ok(Said::Nothing) };
    object.refuse_repeated(key)?;
    let Some(raw) = object.raw(key).filter(|raw| raw.get() != "null") else { return Ok(Said::Nothing) };
    if !rest.is_empty() {
        let wrong = |_| RequestError::WrongType(key, "an object");
        return match rest {
            [inner] => number_in(inner, &serde_json::from_str(raw.get()).map_err(wrong)?),
            _ => Err(RequestError::WrongType(key, "an object")),
        };
    }
    number_in(key, object)
}

fn number_in(key: &'static str, object: &Object<'_>) -> Result<Said, RequestError> {
    object.refuse_repeated(key)?;
    let Some(raw) = object.raw(key).filter(|raw| raw.get() != "null") else { return Ok(Said::Nothing) };
    match (raw.get().parse::<u64>(), raw.get().parse::<i64>()) {
        (Ok(0), _) | (Err(_), Ok(_)) => Ok(Said::Unbounded),
        (Ok(number), _) => Ok(Said::Number(number)),
        (Err(_), Err(_)) => Err(RequestError::WrongType(key, "a whole number")),
    }
}

/// The key by which another price is asked for.
fn tier(dialect: &Dialect, object: &Object<'_>) -> Result<Option<&'static str>, RequestError> {
    for (key, standard) in dialect.tiers {
        object.refuse_repeated(key)?;
        let Some(raw) = object.raw(key).filter(|raw| raw.get() != "null") else { continue };
        let said: Option<String> = serde_json::from_str(raw.get()).ok();
        if said.is_none_or(|said| !standard.contains(&said.as_str())) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn has_media(dialect: &'static Dialect, body: &[u8]) -> Result<bool, RequestError> {
    let mut found = false;
    let search = Search { media: dialect.media, is_type: false, found: &mut found };
    let mut from = serde_json::Deserializer::from_slice(body);
    search.deserialize(&mut from).map_err(RequestError::NotAnObject)?;
    Ok(found)
}

/// Looks through a whole document for keys, and for values of `type`.
struct Search<'a> {
    media: &'static [&'static str],
    is_type: bool,
    found: &'a mut bool,
}

impl Search<'_> {
    fn names(&self, text: &str) -> bool {
        self.media.iter().any(|known| is_spelled_as(text, known))
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            *self.found |= self.names(&name);
            if *self.found {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let is_type = is_spelled_as(&name, "type");
            map.next_value_seed(Search { media: self.media, is_type, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        let (media, found) = (self.media, self.found);
        while list.next_element_seed(Search { media, is_type: false, found: &mut *found })?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.found |= self.is_type && self.names(text);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chiton_policy::Provider;

    use super::*;

    fn bound(provider: Provider, path: &str, body: &str) -> Result<Bound, BoundError> {
        let facts = provider.facts();
        let endpoint = facts.endpoints.iter().find(|endpoint| endpoint.path == path).unwrap();
        let windows = Windows { context: Some(200_000), max_output: Some(30_000) };
        Bound::of(facts, endpoint, &["m"], windows, body.as_bytes())
    }

    fn output(provider: Provider, path: &str, body: &str) -> u64 {
        bound(provider, path, body).unwrap().output_tokens
    }

    const CHAT: &str = "/chat/completions";

    #[test]
    fn what_is_written_is_bounded_by_the_bodys_own_word() {
        for (provider, path, body, wanted) in [
            (Provider::OpenAi, CHAT, r#"{"max_tokens":10}"#, 10),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":10,"max_completion_tokens":20,"n":3}"#, 60),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":null,"n":0}"#, 30_000),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":-1}"#, 30_000),
            // To some servers it is no bound, whatever stands beside it.
            (Provider::OpenAi, CHAT, r#"{"max_tokens":0}"#, 30_000),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1,"max_completion_tokens":0}"#, 30_000),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1,"max_completion_tokens":-1}"#, 30_000),
            (Provider::OpenAiCompatible, CHAT, r#"{"max_tokens":1,"max_completion_tokens":-1}"#, 30_000),
            (Provider::OpenAiCompatible, CHAT, r#"{"max_tokens":5,"n":0,"best_of":3}"#, 15),
            (Provider::Ollama, "/api/chat", r#"{"options":{"num_predict":0}}"#, 30_000),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1,"prediction":"0123"}"#, 1 + 6),
            // A key of another endpoint, or of another API, bounds nothing.
            (Provider::OpenAi, CHAT, r#"{"max_output_tokens":10}"#, 30_000),
            (Provider::OpenAi, "/responses", r#"{"max_output_tokens":10}"#, 10),
            (Provider::OpenAi, "/responses", r#"{"max_tokens":10}"#, 30_000),
            (
                Provider::OpenAi,
                "/completions",
                r#"{"max_tokens":10,"prompt":["a","b"],"n":2,"best_of":4}"#,
                80,
            ),
            (Provider::OpenAi, "/completions", r#"{"max_tokens":10,"prompt":[1,2,3]}"#, 10),
            (Provider::OpenAi, "/completions", r#"{"max_tokens":10,"prompt":[[1],[2],[3]]}"#, 30),
            (Provider::OpenAi, "/embeddings", r#"{"input":"x"}"#, 0),
            (Provider::Mistral, CHAT, r#"{"max_completion_tokens":10}"#, 30_000),
            // Who knows the newer name is not known: it never makes the bound smaller.
            (Provider::OpenAiCompatible, CHAT, r#"{"max_completion_tokens":10}"#, 30_000),
            (Provider::OpenAiCompatible, CHAT, r#"{"max_completion_tokens":40000}"#, 40_000),
            (Provider::OpenAiCompatible, CHAT, r#"{"max_tokens":5,"max_completion_tokens":10}"#, 10),
            (Provider::Anthropic, "/v1/messages", r#"{"max_tokens":7}"#, 7),
            (Provider::Ollama, "/api/chat", r#"{"options":{"num_predict":9}}"#, 9),
            (Provider::Ollama, "/api/chat", r#"{"options":{"num_predict":-1},"max_tokens":1}"#, 30_000),
            (
                Provider::Google,
                "/v1beta/models/{model}:generateContent",
                r#"{"generationConfig":{"maxOutputTokens":5,"candidateCount":2}}"#,
                10,
            ),
            (
                Provider::Google,
                "/v1beta/models/{model}:generateContent",
                r#"{"generation_config":{"max_output_tokens":6},"generationConfig":{"maxOutputTokens":5}}"#,
                6,
            ),
        ] {
            assert_eq!(output(provider, path, body), wanted, "{provider} {path} {body}");
        }
        let huge = format!(r#"{{"max_tokens":{0},"n":{0}}}"#, u64::MAX);
        assert_eq!(output(Provider::OpenAi, CHAT, &huge), u64::MAX);
    }

    #[test]
    fn what_is_read_is_bounded_by_its_bytes_or_by_what_can_be_read_at_all() {
        let read = |body: &str| bound(Provider::OpenAi, CHAT, body).unwrap().input_tokens;
        let plain = r#"{"messages":[{"role":"user","content":"image_url \"type\":\"image_url\""}]}"#;
        assert_eq!(read(plain), plain.len() as u64 + AROUND);
        for body in [
            r#"{"messages":[{"content":[{"type":"image_url","x":1}]}]}"#,
            r#"{"messages":[{"content":[{"image_url":{"url":"u"}}]}]}"#,
            r#"{"messages":[{"content":[{"im\u0061ge_url":{"url":"u"}}]}]}"#,
            r#"{"messages":[{"content":[{"Image_URL":{"url":"u"}}]}]}"#,
            r#"{"a":[[[[[[[[{"file_id":1}]]]]]]]]}"#,
            r#"{"previous_response_id":"r"}"#,
            r#"{"input":[{"type":"item_reference","id":"i"}]}"#,
        ] {
            assert_eq!(read(body), 200_000, "{body}");
        }
        let image = format!(r#"{{"image_url":"{}"}}"#, "x".repeat(300_000));
        assert_eq!(read(&image), image.len() as u64 + AROUND);
        let tools = r#"{"tools":[{"type":"function"}]}"#;
        assert_eq!(read(tools), tools.len() as u64 + AROUND_TOOLS);
        // Nothing is known of the model.
        let facts = Provider::Anthropic.facts();
        let endpoint = facts.endpoints.iter().find(|endpoint| endpoint.path == "/v1/messages").unwrap();
        let media = br#"{"messages":[{"content":[{"type":"image","source":{"type":"url"}}]}]}"#;
        let bound = Bound::of(facts, endpoint, &["m"], Windows::default(), media).unwrap();
        assert_eq!((bound.input_tokens, bound.output_tokens), (CONTEXT, OUTPUT));
        assert_eq!(bound.tokens(), CONTEXT + OUTPUT);
    }

    #[test]
    fn what_nothing_bounds_is_named() {
        const GEMINI: &str = "/v1beta/models/{model}:generateContent";
        for (provider, path, body, said) in [
            (Provider::OpenAi, "/responses", r#"{"tools":[{"type":"web_search"}]}"#, "`web_search`"),
            (Provider::OpenAi, "/responses", r#"{"tools":[{"type":"function"},{"name":"x"}]}"#, "`name`"),
            (
                Provider::OpenAi,
                "/responses",
                r#"{"tools":[{"type":"function","type":"mcp"}]}"#,
                "`type` more",
            ),
            (Provider::OpenAi, CHAT, r#"{"web_search_options":{"a":1}}"#, "`web_search_options`"),
            (Provider::OpenAi, "/images/generations", "{}", "`/images/generations`"),
            (
                Provider::Anthropic,
                "/v1/messages",
                r#"{"tools":[{"type":"web_search_20250305"}]}"#,
                "web_search",
            ),
            (Provider::Anthropic, "/v1/messages", r#"{"mcp_servers":[{}]}"#, "`mcp_servers`"),
            // Another model, at another price.
            (Provider::Anthropic, "/v1/messages", r#"{"fallbacks":[{"model":"x"}]}"#, "`fallbacks`"),
            (Provider::OpenAiCompatible, CHAT, r#"{"fallbacks":["x"]}"#, "`fallbacks`"),
            (Provider::Google, GEMINI, r#"{"tools":[{"googleSearch":{}}]}"#, "`googleSearch`"),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1,"max_tokens":9}"#, "`max_tokens` more"),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1,"Max_Tokens":9}"#, "another spelling"),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":1e9}"#, "not a whole number"),
            (Provider::OpenAi, CHAT, r#"{"max_tokens":"9"}"#, "not a whole number"),
            (
                Provider::Google,
                GEMINI,
                r#"{"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9}}"#,
                "more than once",
            ),
            (Provider::Google, GEMINI, r#"{"generationConfig":[]}"#, "not an object"),
            (Provider::OpenAi, CHAT, "[]", "not a JSON object"),
        ] {
            let error = bound(provider, path, body).unwrap_err().to_string();
            assert!(error.contains(said), "{body}: {error}");
        }
        for (provider, path, body) in [
            (Provider::OpenAi, "/responses", r#"{"tools":[{"type":"function"},{"type":"custom"}]}"#),
            (Provider::Anthropic, "/v1/messages", r#"{"tools":[{"name":"x"},{"type":"bash_20250124"}]}"#),
            (Provider::Google, GEMINI, r#"{"tools":[{"functionDeclarations":[]}]}"#),
        ] {
            assert!(bound(provider, path, body).is_ok(), "{body}");
        }
    }

    #[test]
    fn a_call_of_bedrock_is_bounded_where_its_own_api_says_so() {
        const CONVERSE: &str = "/model/{model}/converse";
        const INVOKE: &str = "/model/{model}/invoke";
        for (path, body, wanted) in [
            (CONVERSE, r#"{"inferenceConfig":{"maxTokens":10}}"#, 10),
            (CONVERSE, r#"{"max_tokens":10}"#, 30_000),
            (
                CONVERSE,
                r#"{"inferenceConfig":{"maxTokens":10},"additionalModelRequestFields":{"max_tokens":70}}"#,
                70,
            ),
            // Whose key it is, its path does not tell.
            (INVOKE, r#"{"max_tokens":10}"#, 30_000),
            (INVOKE, r#"{"max_gen_len":40000}"#, 40_000),
        ] {
            assert_eq!(output(Provider::Bedrock, path, body), wanted, "{body}");
        }
        for (models, body, wanted) in [
            (&["eu.anthropic.x:0"][..], r#"{"max_tokens":10}"#, 10),
            (&["anthropic.x"], r#"{"max_tokens":10,"max_tokens_to_sample":70}"#, 70),
            (&["anthropic.x"], r#"{"max_gen_len":10}"#, 30_000),
            (&["anthropic.x", "meta.y"], r#"{"max_tokens":10}"#, 30_000),
            (&["meta.anthropic"], r#"{"max_tokens":10}"#, 30_000),
            (&[], r#"{"max_tokens":10}"#, 30_000),
        ] {
            let facts = Provider::Bedrock.facts();
            let endpoint = facts.endpoints.iter().find(|endpoint| endpoint.path == INVOKE).unwrap();
            let windows = Windows { context: None, max_output: Some(30_000) };
            let bound = Bound::of(facts, endpoint, models, windows, body.as_bytes()).unwrap();
            assert_eq!(bound.output_tokens, wanted, "{models:?} {body}");
        }
        let good =
            r#"{"toolConfig":{"tools":[{"toolSpec":{"name":"x"}},{"cachePoint":{"type":"default"}}]}}"#;
        assert!(bound(Provider::Bedrock, CONVERSE, good).unwrap().input_tokens > AROUND_TOOLS);
        for (path, body) in [
            (CONVERSE, r#"{"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]}}"#),
            (CONVERSE, r#"{"additionalModelRequestFields":{"tools":[{"type":"web_search_20250305"}]}}"#),
            (INVOKE, r#"{"tools":[{"type":"web_search_20250305"}]}"#),
        ] {
            let error = bound(Provider::Bedrock, path, body).unwrap_err().to_string();
            assert!(error.contains("runs at the provider"), "{body}: {error}");
        }
        let picture = r#"{"messages":[{"content":[{"image":{"source":{"bytes":"AA"}}}]}]}"#;
        assert_eq!(bound(Provider::Bedrock, CONVERSE, picture).unwrap().input_tokens, 200_000);
        let tier = r#"{"serviceTier":{"type":"priority"}}"#;
        assert_eq!(bound(Provider::Bedrock, CONVERSE, tier).unwrap().tier, Some("serviceTier"));
    }

    #[test]
    fn another_price_than_the_standard_one_is_seen() {
        let tier = |provider, path, body| bound(provider, path, body).unwrap().tier;
        assert_eq!(tier(Provider::OpenAi, CHAT, r#"{"service_tier":"priority"}"#), Some("service_tier"));
        assert_eq!(tier(Provider::OpenAi, CHAT, r#"{"service_tier":"auto"}"#), None);
        assert_eq!(tier(Provider::Anthropic, "/v1/messages", r#"{"speed":"fast"}"#), Some("speed"));
        assert_eq!(tier(Provider::Anthropic, "/v1/messages", r#"{"speed":null}"#), None);
    }

    #[test]
    fn every_call_of_every_provider_is_bounded_or_refused() {
        for provider in Provider::ALL {
            for endpoint in provider.facts().endpoints {
                let bound = bound(provider, endpoint.path, r#"{"model":"m"}"#);
                match endpoint.spends {
                    Spends::Nothing => assert_eq!(bound.unwrap(), Bound::default()),
                    Spends::Untold => assert!(bound.is_err()),
                    Spends::Reads => assert!(bound.unwrap().input_tokens > 0),
                    Spends::Writes(writes) => {
                        assert_eq!(bound.unwrap().output_tokens, 30_000, "{provider} {}", endpoint.path);
                        assert!(writes.most.iter().chain(writes.also).all(|place| place.len() <= 2));
                    }
                }
            }
        }
    }
}
