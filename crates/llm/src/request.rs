//! A model request's body: what it asks for, and the usage asked for with it.

use std::{borrow::Cow, fmt, ops::Range};

use chiton_policy::{Endpoint, LlmRoute, ProviderFacts};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// What is asked of a body.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose dialect it is in.
    pub facts: &'static ProviderFacts,
    /// What it is for.
    pub endpoint: &'static Endpoint,
    /// Whose aliases hold.
    pub route: &'a LlmRoute,
}

/// A JSON request as it goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRequest<'a> {
    /// Every model that it names, as it is sent: the one that is called first, where there is one.
    pub models: Vec<String>,
    /// Whether it names one that is called.
    pub names_model: bool,
    /// A key that stands for models which it does not name.
    pub hidden: Option<&'static str>,
    /// Whether it asks for an event stream.
    pub stream: bool,
    /// Whether the usage is asked for by us: the caller does not expect it (see
    /// [`UsageChunkFilter`](crate::UsageChunkFilter)).
    pub usage_added: bool,
    /// The body, byte for byte the caller's but for what was added, and the names that have an alias.
    pub body: Cow<'a, [u8]>,
}

/// Why a request's body cannot be judged. Each is an ambiguity: two servers could read it differently.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    NotAnObject(#[source] serde_json::Error),
    /// A key that decides something comes twice.
    #[error("the body has `{0}` more than once")]
    Repeated(&'static str),
    /// A key that decides something is written in a way that some servers read as the same.
    #[error("the body has `{0}` in another spelling")]
    Spelled(&'static str),
    /// A key that decides something has a value of another type.
    #[error("`{0}` in the body is not {1}")]
    WrongType(&'static str, &'static str),
}

const MODEL: &str = "model";
const DECIDING: [&str; 3] = [MODEL, "stream", "stream_options"];
const ASK: &str = r#""stream_options":{"include_usage":true}"#;

impl<'a> PreparedRequest<'a> {
    /// Reads a body, puts in the names that aliases stand for, and asks for the usage where the API tells it in a
    /// stream only when asked.
    ///
    /// # Errors
    /// When the body is no JSON object, or says twice what may be said once.
    pub fn new(asked: Asked<'_>, body: &'a [u8]) -> Result<Self, RequestError> {
        let object: Object<'_> = serde_json::from_slice(body).map_err(RequestError::NotAnObject)?;
        let facts = asked.facts;
        for key in DECIDING.iter().chain(facts.more_models).chain(facts.hidden_models) {
            object.refuse_repeated(key)?;
        }
        let mut named = Named { asked, body, models: Vec::new(), edits: Vec::new() };
        if let Some(raw) = object.raw(MODEL) {
            named.add(MODEL, raw)?;
        }
        let names_model = !named.models.is_empty();
        for key in facts.more_models {
            named.add_all(key, object.raw(key))?;
        }
        named.add_tools(object.raw("tools"))?;
        let stream = object.get::<Option<bool>>("stream", "true or false")?.flatten().unwrap_or(false);
        let usage_added = stream && asked.endpoint.asks_usage && !object.includes_usage()?;
        if usage_added {
            named.edits.push(object.with_usage(body)?);
        }
        let is_set = |key: &&&str| object.raw(key).is_some_and(|raw| !matches!(raw.get(), "null" | "[]"));
        let hidden = facts.hidden_models.iter().find(is_set).copied();
        let Named { models, edits, .. } = named;
        Ok(Self { models, names_model, hidden, stream, usage_added, body: edited(body, edits) })
    }
}

/// A part of the body, and what is written in its place.
type Edit = (Range<usize>, String);

fn edited(body: &[u8], mut edits: Vec<Edit>) -> Cow<'_, [u8]> {
    if edits.is_empty() {
        return Cow::Borrowed(body);
    }
    edits.sort_by_key(|(at, _)| at.start);
    let mut whole = body.to_vec();
    for (at, text) in edits.into_iter().rev() {
        whole.splice(at, text.into_bytes());
    }
    Cow::Owned(whole)
}

/// The models that a body names, found one after the other.
struct Named<'a, 'b> {
    asked: Asked<'a>,
    body: &'b [u8],
    models: Vec<String>,
    edits: Vec<Edit>,
}

impl Named<'_, '_> {
    /// One name; `null` is none.
    fn add(&mut self, key: &'static str, raw: &RawValue) -> Result<(), RequestError> {
        let wrong = || RequestError::WrongType(key, "a string");
        let Some(text) = serde_json::from_str::<Option<String>>(raw.get()).map_err(|_| wrong())? else {
            return Ok(());
        };
        let prefix = self.asked.facts.dialect.model_prefix;
        let (prefix, name) = match text.strip_prefix(prefix) {
            Some(name) => (prefix, name),
            None => ("", text.as_str()),
        };
        let sent = self.asked.route.sent_model(name);
        if sent != name {
            let written = serde_json::to_string(&format!("{prefix}{sent}")).map_err(|_| wrong())?;
            self.edits.push((span(self.body, raw.get()).ok_or_else(wrong)?, written));
        }
        self.models.push(sent.to_owned());
        Ok(())
    }

    /// One name, or a list of them.
    fn add_all(&mut self, key: &'static str, raw: Option<&RawValue>) -> Result<(), RequestError> {
        let Some(raw) = raw else { return Ok(()) };
        match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            Ok(names) => names.into_iter().try_for_each(|name| self.add(key, name)),
            Err(_) => self.add(key, raw),
        }
    }

    /// Tools that call a model of their own, as those that make images do.
    fn add_tools(&mut self, raw: Option<&RawValue>) -> Result<(), RequestError> {
        let tools = raw.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        for tool in tools.into_iter().flatten() {
            let Ok(tool) = serde_json::from_str::<Object<'_>>(tool.get()) else { continue };
            tool.refuse_repeated(MODEL)?;
            if let Some(raw) = tool.raw(MODEL) {
                self.add(MODEL, raw)?;
            }
        }
        Ok(())
    }
}

/// Whether a server that does not look at the case of a key takes one for the other.
pub(crate) fn is_spelled_as(name: &str, key: &str) -> bool {
    name.chars().flat_map(char::to_uppercase).eq(key.chars().flat_map(char::to_uppercase))
}

/// The entries of an object in their order, repetitions kept, keys unescaped.
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(crate) fn refuse_repeated(&self, key: &'static str) -> Result<(), RequestError> {
        let mut seen = false;
        for (name, _) in self.0.iter().filter(|(name, _)| is_spelled_as(name, key)) {
            if name != key {
                return Err(RequestError::Spelled(key));
            }
            if std::mem::replace(&mut seen, true) {
                return Err(RequestError::Repeated(key));
            }
        }
        Ok(())
    }

    pub(crate) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    fn get<T: serde::de::DeserializeOwned>(
        &self,
        key: &'static str,
        wanted: &'static str,
    ) -> Result<Option<T>, RequestError> {
        let value = self.raw(key).map(|raw| serde_json::from_str(raw.get()));
        value.transpose().map_err(|_| RequestError::WrongType(key, wanted))
    }

    fn options(&self) -> Result<Option<Object<'_>>, RequestError> {
        let options = self.raw("stream_options").filter(|raw| raw.get() != "null");
        let options = options.map(|raw| serde_json::from_str(raw.get())).transpose();
        options.map_err(|_| RequestError::WrongType("stream_options", "an object"))
    }

    fn includes_usage(&self) -> Result<bool, RequestError> {
        let Some(options) = self.options()? else { return Ok(false) };
        let asked: Vec<&str> = options
            .0
            .iter()
            .filter(|(name, _)| name == "include_usage")
            .map(|(_, value)| value.get())
            .collect();
        match asked.as_slice() {
            [] | ["false" | "null"] => Ok(false),
            ["true"] => Ok(true),
            [_] => Err(RequestError::WrongType("include_usage", "true or false")),
            [_, _, ..] => Err(RequestError::Repeated("include_usage")),
        }
    }

    /// What asks for the usage; every other byte stays.
    fn with_usage(&self, body: &[u8]) -> Result<Edit, RequestError> {
        let Some(options) = self.raw("stream_options") else {
            let brace = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
            return Ok((brace..brace, format!("{ASK},")));
        };
        let mut kept: Vec<String> = Vec::new();
        for (name, value) in self.options()?.map(|options| options.0).unwrap_or_default() {
            if name != "include_usage" {
                let name = serde_json::to_string(&*name).map_err(RequestError::NotAnObject)?;
                kept.push(format!("{name}:{}", value.get()));
            }
        }
        kept.push(r#""include_usage":true"#.to_owned());
        let at = span(body, options.get()).ok_or(RequestError::WrongType("stream_options", "an object"))?;
        Ok((at, format!("{{{}}}", kept.join(","))))
    }
}

/// Where a part that was borrowed from the body stands in it.
fn span(body: &[u8], part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr().addr()).checked_sub(body.as_ptr().addr())?;
    let range = start..start.checked_add(part.len())?;
    (body.get(range.clone())? == part.as_bytes()).then_some(range)
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    entries.push((Cow::Owned(name), map.next_value()?));
                }
                Ok(Object(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use chiton_policy::{Policy, Provider};

    use super::*;

    const CHAT: &str = "/chat/completions";

    fn of<'a>(route: &str, path: &str, body: &'a str) -> Result<PreparedRequest<'a>, RequestError> {
        let policy = Policy::parse(&format!("dynamic: {{llm_routing: {route}}}")).unwrap();
        let route = &policy.dynamic.llm[0];
        let facts = route.provider.facts();
        let endpoint = facts.endpoints.iter().find(|endpoint| endpoint.path == path).unwrap();
        PreparedRequest::new(Asked { facts, endpoint, route }, body.as_bytes())
    }

    fn prepare(body: &str) -> Result<(Option<String>, bool, bool, String), RequestError> {
        let p = of("{provider: openai}", CHAT, body)?;
        let body = String::from_utf8(p.body.into_owned()).unwrap();
        Ok((p.models.first().cloned(), p.stream, p.usage_added, body))
    }

    fn renamed(route: &str, path: &str, body: &str) -> (Vec<String>, String) {
        let prepared = of(route, path, body).unwrap();
        (prepared.models, String::from_utf8(prepared.body.into_owned()).unwrap())
    }

    #[test]
    fn every_name_of_a_model_is_found_and_aliases_are_put_in() {
        const ALIAS: &str = "model_alias: {fast: 'vendor/small \"9\"', big: large}";
        let route = format!("{{provider: openrouter, {ALIAS}}}");
        let (models, sent) = renamed(
            &route,
            CHAT,
            r#"{ "messages":[{"model":"fast"}], "models" : ["big", "x"],"model" :"fast","stream":true,"tools":[{"type":"image_generation","model":"big"},{"name":"x"},3]}"#,
        );
        assert_eq!(models, ["vendor/small \"9\"", "large", "x", "large"]);
        assert_eq!(
            sent,
            r#"{"stream_options":{"include_usage":true}, "messages":[{"model":"fast"}], "models" : ["large", "x"],"model" :"vendor/small \"9\"","stream":true,"tools":[{"type":"image_generation","model":"large"},{"name":"x"},3]}"#
        );
        let (models, sent) = renamed(
            "{provider: google, model_alias: {fast: gemini-9}}",
            "/v1beta/models/{model}:countTokens",
            r#"{"model":"models/fast","contents":[]}"#,
        );
        assert_eq!(
            (models[0].as_str(), sent.as_str()),
            ("gemini-9", r#"{"model":"models/gemini-9","contents":[]}"#)
        );
        // An escaped name is the same name.
        let (models, sent) = renamed(&route, CHAT, r#"{"model":"f\u0061st"}"#);
        assert_eq!(
            (models[0].as_str(), sent.as_str()),
            ("vendor/small \"9\"", r#"{"model":"vendor/small \"9\""}"#)
        );
    }

    #[test]
    fn what_names_no_model_or_hides_one_says_so() {
        let plain =
            of("{provider: openrouter}", CHAT, r#"{"model":null,"models":["a"],"preset":null,"plugins":[]}"#);
        let plain = plain.unwrap();
        assert_eq!((plain.names_model, plain.hidden, plain.models.len()), (false, None, 1));
        let hidden = of("{provider: openrouter}", CHAT, r#"{"model":"a","preset":"mine"}"#).unwrap();
        assert_eq!((hidden.names_model, hidden.hidden), (true, Some("preset")));
        assert!(of("{provider: openai}", CHAT, r#"{"model":"a","preset":"mine"}"#).unwrap().hidden.is_none());
        // The provider, or a gateway, goes on to these by itself.
        for facts in Provider::ALL.map(Provider::facts) {
            let policy = Policy::parse("dynamic: {llm_routing: {provider: openai}}").unwrap();
            for endpoint in facts.endpoints.iter().filter(|endpoint| endpoint.calls_model()) {
                let asked = Asked { facts, endpoint, route: &policy.dynamic.llm[0] };
                let body = br#"{"model":"a","fallbacks":[{"model":"b"}]}"#;
                assert_eq!(PreparedRequest::new(asked, body).unwrap().hidden, Some("fallbacks"));
                assert!(PreparedRequest::new(asked, br#"{"model":"a","Fallbacks":["b"]}"#).is_err());
            }
        }
    }

    #[test]
    fn the_usage_is_asked_for_where_the_table_says_so() {
        let body = r#"{"model":"m","stream":true}"#;
        for facts in Provider::ALL.map(Provider::facts) {
            let policy = Policy::parse("dynamic: {llm_routing: {provider: openai}}").unwrap();
            for endpoint in facts.endpoints.iter().filter(|endpoint| endpoint.calls_model()) {
                let asked = Asked { facts, endpoint, route: &policy.dynamic.llm[0] };
                let prepared = PreparedRequest::new(asked, body.as_bytes()).unwrap();
                assert_eq!(prepared.usage_added, endpoint.asks_usage, "{}", endpoint.path);
                assert_eq!(prepared.models, ["m"]);
            }
        }
    }

    #[test]
    fn a_request_that_needs_nothing_stays_as_it_is() {
        for body in [
            r#"{"model":"m"}"#,
            r#" {"model": "m", "stream": true, "stream_options" : {"include_usage": true} } "#,
        ] {
            let (model, _, added, sent) = prepare(body).unwrap();
            assert_eq!((model.as_deref(), added, sent.as_str()), (Some("m"), false, body));
        }
        let body = r#"{"model":"m","stream":true}"#;
        assert!(!of("{provider: openai}", "/responses", body).unwrap().usage_added);
        assert!(!of("{provider: anthropic}", "/v1/messages", body).unwrap().usage_added);
    }

    #[test]
    fn usage_is_asked_for_and_nothing_else_is_touched() {
        for (body, wanted) in [
            (
                r#" { "model":"m","stream":true, "x":1.50}"#,
                r#" {"stream_options":{"include_usage":true}, "model":"m","stream":true, "x":1.50}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{"a":[1,{}],"include_usage":false},"z":1}"#,
                r#"{"stream":true,"stream_options":{"a":[1,{}],"include_usage":true},"z":1}"#,
            ),
            (
                r#"{"stream":true,"stream_options":null}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        ] {
            let (_, stream, added, sent) = prepare(body).unwrap();
            assert!(stream && added);
            assert_eq!(sent, wanted);
        }
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"MODEL":"b"}"#,
            r#"{"model":"a","\u017ftream":true}"#,
            r#"{"model":"a","tools":[{"model":"a","model":"b"}]}"#,
            r#"{"stream":true,"stream":false}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
            r#"{"model":1}"#,
            r#"{"stream":"yes"}"#,
            r#"["model"]"#,
            r#"{"model":"a"} {"model":"b"}"#,
            r#"{"model":"a""#,
            "",
        ] {
            assert!(prepare(body).is_err(), "{body}");
        }
    }
}
