//! One event, in the order of keys that is promised.

use serde::{Deserialize, Serialize};

use crate::{
    Code, EventId, Hash, Time, Usd,
    json::{Object, push_text},
};

/// The longest text that a field keeps; the rest is cut. An agent chooses paths, not the size of our log.
pub(crate) const LONGEST_TEXT: usize = 4096;
const MOST_NAMES: usize = 64;
const LONGEST_NAME: usize = 128;

/// One decision or deed. Build with [`Event::new`], then set what is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub time: Time,
    /// Unique, and sortable by time.
    pub id: EventId,
    /// The sandbox's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The revision that it was judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Which layer decided.
    pub layer: Layer,
    /// What was tried or done: `request`, `connect`, `exec`, `open`, a system call, `create`, `apply`, …
    pub action: Code,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why, for a refusal: the policy's own closed set for requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Code>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The executable: of the socket's owner, or the started program's resolved file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// What was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Tokens and cost of a model call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmUse>,
}

/// Which layer an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Files.
    Filesystem,
    /// Programs and system calls.
    Process,
    /// Connections and requests.
    Network,
    /// Model calls.
    Llm,
    /// Credentials.
    Credential,
    /// Revisions of the policy.
    Policy,
    /// Sandboxes that come and go.
    Lifecycle,
}

impl Layer {
    /// Every layer, in the order of the documentation.
    pub const ALL: [Layer; 7] = [
        Layer::Filesystem,
        Layer::Process,
        Layer::Network,
        Layer::Llm,
        Layer::Credential,
        Layer::Policy,
        Layer::Lifecycle,
    ];

    /// As written in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Filesystem => "filesystem",
            Layer::Process => "process",
            Layer::Network => "network",
            Layer::Llm => "llm",
            Layer::Credential => "credential",
            Layer::Policy => "policy",
            Layer::Lifecycle => "lifecycle",
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was let pass.
    Allow,
    /// It was refused.
    Deny,
    /// It would have been refused; the policy's mode is `audit`.
    Audit,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Decision; 3] = [Decision::Allow, Decision::Deny, Decision::Audit];

    /// As written in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::Audit => "audit",
        }
    }
}

/// What was asked for. A file's event has the path only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `https`, `http`, `tcp`, `udp`, `dns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Code>,
    /// The host name or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The request's or the file's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The names in the query, in their order; never a value.
    #[serde(default, skip_serializing_if = "QueryNames::is_empty")]
    pub query: QueryNames,
    /// How many arguments a started program got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<u32>,
}

impl Request {
    /// A file's path and nothing else.
    #[must_use]
    pub fn file(path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// With the names of a query (what stands after `?`).
    #[must_use]
    pub fn with_query(mut self, query: &str) -> Self {
        self.query = QueryNames::of(query);
        self
    }
}

impl Request {
    fn push_json(&self, to: &mut String) {
        let mut object = Object::begin(to);
        object.text("method", self.method.as_deref());
        object.text("scheme", self.scheme.as_ref().map(Code::as_str));
        object.text("host", self.host.as_deref());
        object.number("port", self.port);
        object.text("path", self.path.as_deref());
        if !self.query.is_empty() {
            self.query.push_json(object.key("query"));
        }
        object.number("arguments", self.arguments);
        object.end();
    }
}

/// The names of a query's parameters, as they are written. No value can be put in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueryNames(Vec<String>);

impl QueryNames {
    /// Takes the names of a query and leaves the values.
    #[must_use]
    pub fn of(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let names = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        Self(names.take(MOST_NAMES).map(|name| cut(name, LONGEST_NAME).to_owned()).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    fn push_json(&self, to: &mut String) {
        to.push('[');
        for (at, name) in self.0.iter().enumerate() {
            if at > 0 {
                to.push(',');
            }
            push_text(to, name);
        }
        to.push(']');
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes that came from the agent, where it is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes of the body, or of the connection, that went to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// From the request's first byte to the first of the response's body; of model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// From the request's first byte to the response's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
}

impl Response {
    fn push_json(&self, to: &mut String) {
        let mut object = Object::begin(to);
        object.number("status", self.status);
        object.number("sent", self.sent);
        object.number("bytes", self.bytes);
        object.number("first_byte_us", self.first_byte_us);
        object.number("duration_us", self.duration_us);
        object.end();
    }
}

/// A model call's figures, as the provider gave them, or the most that they may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmUse {
    /// The route's provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Code>,
    /// Where it went: what the route's limits are counted by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The model that answered, or that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Of these, the ones that came out of a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Of those read, the ones that were put into a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Tokens written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// The figures are the most that the call could cost: its usage did not come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
    /// The `reserve` event that this settles, or tells the `progress` of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<EventId>,
    /// How many events of its stream have come, of a call that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

/// Why a line is no event.
#[derive(Debug, thiserror::Error)]
#[error("not an audit event: {0}")]
pub struct ParseError(#[from] serde_json::Error);

/// An event as it stands in a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Linked {
    /// The event.
    pub event: Event,
    /// What the line says of its place; none in a file that is not chained.
    pub link: Option<(Hash, Hash)>,
}

impl Event {
    /// An event of this moment, with an id that sorts after every earlier one of this process.
    #[must_use]
    pub fn new(layer: Layer, action: impl Into<Code>) -> Self {
        Self::at(Time::now(), EventId::next(), layer, action)
    }

    /// An event with a time and an id from elsewhere.
    #[must_use]
    pub fn at(time: Time, id: EventId, layer: Layer, action: impl Into<Code>) -> Self {
        Self {
            time,
            id,
            sandbox: None,
            revision: None,
            layer,
            action: action.into(),
            decision: None,
            reason: None,
            rule: None,
            binary: None,
            request: None,
            response: None,
            llm: None,
        }
    }

    /// One line of JSON, without the line's end, texts cut to a length that a log can bear.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = String::with_capacity(512);
        self.push_line(&mut line);
        line
    }

    /// Appends the same to `to`.
    pub(crate) fn push_line(&self, to: &mut String) {
        if self.has_long_text() {
            let mut bounded = self.clone();
            bounded.cut_texts();
            return bounded.push_json(to);
        }
        self.push_json(to);
    }

    fn push_json(&self, to: &mut String) {
        let mut object = Object::begin(to);
        self.time.push_to(object.key("time"));
        self.id.push_to(object.key("id"));
        object.text("sandbox", self.sandbox.as_deref());
        object.number("revision", self.revision);
        object.text("layer", Some(self.layer.as_str()));
        object.text("action", Some(self.action.as_str()));
        object.text("decision", self.decision.map(Decision::as_str));
        object.text("reason", self.reason.as_ref().map(Code::as_str));
        object.text("rule", self.rule.as_deref());
        object.text("binary", self.binary.as_deref());
        if let Some(request) = &self.request {
            request.push_json(object.key("request"));
        }
        if let Some(response) = &self.response {
            response.push_json(object.key("response"));
        }
        if let Some(llm) = &self.llm {
            // Of model calls alone: a struct of texts and numbers always serialises.
            object.key("llm").push_str(&serde_json::to_string(llm).unwrap_or_default());
        }
        object.end();
    }

    /// Reads a line of a spool or of the log, with or without its link.
    ///
    /// # Errors
    /// When the line is not exactly an event: unknown keys are refused too.
    pub fn parse(line: &str) -> Result<Linked, ParseError> {
        let (body, link) =
            crate::chain::split(line).map_or((line.into(), None), |(body, link)| (body, Some(link)));
        Ok(Linked { event: serde_json::from_str(&body)?, link })
    }

    fn has_long_text(&self) -> bool {
        let of_request = self
            .request
            .as_ref()
            .map_or([None, None, None], |r| [r.method.as_deref(), r.host.as_deref(), r.path.as_deref()]);
        let [model, backend] =
            self.llm.as_ref().map_or([None; 2], |llm| [llm.model.as_deref(), llm.backend.as_deref()]);
        let own = [self.sandbox.as_deref(), self.rule.as_deref(), self.binary.as_deref(), model, backend];
        own.into_iter().chain(of_request).flatten().any(|text| text.len() > LONGEST_TEXT)
    }

    fn cut_texts(&mut self) {
        let request = self.request.as_mut();
        let [method, host, path] =
            request.map_or([None, None, None], |r| [r.method.as_mut(), r.host.as_mut(), r.path.as_mut()]);
        let [model, backend] =
            self.llm.as_mut().map_or([None, None], |llm| [llm.model.as_mut(), llm.backend.as_mut()]);
        let own = [self.sandbox.as_mut(), self.rule.as_mut(), self.binary.as_mut()];
        for text in own.into_iter().chain([method, host, path, model, backend]).flatten() {
            text.truncate(cut(text, LONGEST_TEXT).len());
        }
    }
}

/// The one of these that is written as this word.
pub(crate) fn in_words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|one| as_str(*one) == word)
}

fn cut(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or(text)
}
