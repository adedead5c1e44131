//! A model request's body: what it asks for, and the usage asked for with it.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::Dialect;

/// A JSON request as it goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRequest<'a> {
    /// The model that it names.
    pub model: Option<String>,
    /// Whether it asks for an event stream.
    pub stream: bool,
    /// Whether the usage is asked for by us: the caller does not expect it (see
    /// [`UsageChunkFilter`](crate::UsageChunkFilter)).
    pub usage_added: bool,
    /// The body, byte for byte the caller's but for what was added.
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
    /// A key that decides something has a value of another type.
    #[error("`{0}` in the body is not {1}")]
    WrongType(&'static str, &'static str),
}

const DECIDING: [&str; 3] = ["model", "stream", "stream_options"];
const ASK: &str = r#""stream_options":{"include_usage":true}"#;

impl<'a> PreparedRequest<'a> {
    /// Reads a body for one of the dialect's endpoints (`path` without query), and asks for the usage where
    /// the API tells it in a stream only when asked.
    ///
    /// # Errors
    /// When the body is no JSON object, or says twice what may be said once.
    pub fn new(dialect: Dialect, path: &str, body: &'a [u8]) -> Result<Self, RequestError> {
        let object: Object<'_> = serde_json::from_slice(body).map_err(RequestError::NotAnObject)?;
        object.refuse_repeated()?;
        let model = object.get::<Option<String>>("model", "a string")?.flatten();
        let stream = object.get::<Option<bool>>("stream", "true or false")?.flatten().unwrap_or(false);
        let mut prepared = Self { model, stream, usage_added: false, body: Cow::Borrowed(body) };
        if stream && asks_for_usage(dialect, path) && !object.includes_usage()? {
            prepared.body = Cow::Owned(object.with_usage(body)?);
            prepared.usage_added = true;
        }
        Ok(prepared)
    }
}

/// Endpoints that tell the usage of a stream only when asked. The others always tell it.
fn asks_for_usage(dialect: Dialect, path: &str) -> bool {
    match dialect {
        Dialect::OpenAi => path.ends_with("/completions"),
        Dialect::Anthropic => false,
    }
}

/// The entries of an object in their order, repetitions kept, keys unescaped.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Object<'_> {
    fn refuse_repeated(&self) -> Result<(), RequestError> {
        let mut seen = HashSet::new();
        for key in DECIDING {
            for _ in self.0.iter().filter(|(name, _)| name == key) {
                if !seen.insert(key) {
                    return Err(RequestError::Repeated(key));
                }
            }
        }
        Ok(())
    }

    fn raw(&self, key: &str) -> Option<&RawValue> {
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

    /// The body, with the usage asked for; every other byte stays.
    fn with_usage(&self, body: &[u8]) -> Result<Vec<u8>, RequestError> {
        let Some(options) = self.raw("stream_options") else {
            let brace = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
            return Ok(spliced(body, brace..brace, &format!("{ASK},")));
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
        Ok(spliced(body, at, &format!("{{{}}}", kept.join(","))))
    }
}

/// Where a part that was borrowed from the body stands in it.
fn span(body: &[u8], part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr().addr()).checked_sub(body.as_ptr().addr())?;
    let range = start..start.checked_add(part.len())?;
    (body.get(range.clone())? == part.as_bytes()).then_some(range)
}

fn spliced(body: &[u8], at: Range<usize>, text: &str) -> Vec<u8> {
    let mut whole = body.to_vec();
    whole.splice(at, text.bytes());
    whole
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
    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn prepare(body: &str) -> Result<(Option<String>, bool, bool, String), RequestError> {
        let p = PreparedRequest::new(Dialect::OpenAi, CHAT, body.as_bytes())?;
        Ok((p.model.clone(), p.stream, p.usage_added, String::from_utf8(p.body.into_owned()).unwrap()))
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
        let body = br#"{"model":"m","stream":true}"#;
        assert!(!PreparedRequest::new(Dialect::OpenAi, "/v1/responses", body).unwrap().usage_added);
        assert!(!PreparedRequest::new(Dialect::Anthropic, "/v1/messages", body).unwrap().usage_added);
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
