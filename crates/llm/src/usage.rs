//! The usage that a response tells, read as it flows by.

use chiton_policy::{Dialect, Place};
use http::HeaderMap;

use crate::{
    eventstream::{self, Frames},
    json::Scanner,
};

/// What a call used, as far as the provider told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that answered.
    pub model: Option<String>,
    /// Tokens read, those from and into a cache included.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Of those read, the ones that came out of a cache.
    pub cached_tokens: Option<u64>,
    /// Of those read, the ones that were put into a cache.
    pub stored_tokens: Option<u64>,
    /// Of these, the ones that stay there for long.
    pub stored_long_tokens: Option<u64>,
}

impl Usage {
    /// Whether any figure was told.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }
}

/// How far a response is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tokens read, as far as it was told.
    pub input_tokens: Option<u64>,
    /// Tokens written, as far as it was told.
    pub output_tokens: Option<u64>,
    /// Events with data that came, where it is an event stream. Providers put a token into each, or several, or none.
    pub events: u64,
}

/// Reads a response's body, plain JSON, server-sent events or Amazon's, decoded. Memory is bounded; nothing is held up.
#[derive(Debug)]
pub struct UsageReader {
    dialect: &'static Dialect,
    scanner: Scanner,
    form: Form,
    figures: Figures,
    events: u64,
}

/// What a body is.
#[derive(Debug)]
enum Form {
    /// Documents, one after the other.
    Plain,
    /// Server-sent events.
    Lines(Line),
    /// Amazon's events.
    Frames(Frames),
    /// Nothing that is read: it cannot be, or the head has told it all.
    Unread,
}

/// Where in an event stream the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` were read at the beginning of a line.
    Field(u8),
    /// Within the data.
    Data,
    /// Within a line that is none.
    Other,
}

/// How many figures a sum has at most.
const PARTS: usize = 4;

#[derive(Debug, Default)]
struct Figures {
    model: Option<String>,
    input: [Option<u64>; PARTS],
    output: [Option<u64>; PARTS],
    cached: Option<u64>,
    stored: Option<u64>,
    stored_long: Option<u64>,
    ended: bool,
}

const FIELD: &[u8] = b"data:";

impl UsageReader {
    /// For a response whose `content-type` is this.
    #[must_use]
    pub fn new(dialect: &'static Dialect, content_type: Option<&str>) -> Self {
        let form = match content_type {
            Some(kind) if is_event_stream(kind) => Form::Lines(Line::Field(0)),
            Some(kind) if eventstream::is_one(kind) => Form::Frames(Frames::default()),
            Some(_) | None => Form::Plain,
        };
        Self { dialect, scanner: Scanner::default(), form, figures: Figures::default(), events: 0 }
    }

    /// Looks at the fields of the response. Where they tell a figure, the body is not asked.
    #[must_use]
    pub fn with_fields(mut self, headers: &HeaderMap) -> Self {
        let Some(place) = self.dialect.usage.first() else { return self };
        for (name, key) in self.dialect.fields {
            let told = headers.get(*name).and_then(|value| value.to_str().ok());
            if let Some(told) = told.filter(|told| told.parse::<u64>().is_ok()) {
                let path: Vec<String> = place.iter().chain([key]).map(|key| (*key).to_owned()).collect();
                self.figures.take(self.dialect, &path, told);
                self.form = Form::Unread;
            }
        }
        self
    }

    /// Looks at the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        match std::mem::replace(&mut self.form, Form::Unread) {
            Form::Plain => {
                self.scan(bytes);
                self.form = Form::Plain;
            }
            Form::Lines(line) => self.form = Form::Lines(self.lines(line, bytes)),
            Form::Frames(frames) => self.frames(frames, bytes),
            Form::Unread => {}
        }
    }

    /// Each frame is a document of its own.
    fn frames(&mut self, mut frames: Frames, bytes: &[u8]) {
        frames.push(bytes);
        loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    self.events += 1;
                    self.scanner = Scanner::default();
                    self.scan(&frame.told());
                }
                Ok(None) => break self.form = Form::Frames(frames),
                Err(_) => break,
            }
        }
    }

    fn lines(&mut self, mut line: Line, bytes: &[u8]) -> Line {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            match line {
                Line::Data | Line::Other => {
                    let end = memchr::memchr2(b'\n', b'\r', rest);
                    let (text, next) = rest.split_at(end.unwrap_or(rest.len()));
                    if line == Line::Data {
                        self.scan(text);
                    }
                    rest = next.get(1..).unwrap_or_default();
                    line = if end.is_some() { Line::Field(0) } else { line };
                }
                Line::Field(read) => {
                    line = self.field(read, *byte);
                    rest = after;
                }
            }
        }
        line
    }

    /// What was told so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let figures = &self.figures;
        Usage {
            model: figures.model.clone(),
            input_tokens: sum(&figures.input),
            output_tokens: sum(&figures.output),
            cached_tokens: figures.cached,
            stored_tokens: figures.stored,
            stored_long_tokens: figures.stored_long,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (input_tokens, output_tokens) = (sum(&self.figures.input), sum(&self.figures.output));
        Progress { input_tokens, output_tokens, events: self.events }
    }

    /// Whether a stream has said that nothing more comes.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.figures.ended
    }

    fn field(&mut self, read: u8, byte: u8) -> Line {
        match (read, byte) {
            (0, b'\n' | b'\r') => {
                // An empty line ends the event; a document never goes on in the next.
                self.scanner = Scanner::default();
                Line::Field(0)
            }
            (_, b'\n' | b'\r') => Line::Field(0),
            _ if FIELD.get(usize::from(read)) == Some(&byte) => match read + 1 {
                5.. => {
                    self.events += 1;
                    Line::Data
                }
                read => Line::Field(read),
            },
            _ => Line::Other,
        }
    }

    fn scan(&mut self, bytes: &[u8]) {
        let (dialect, figures) = (self.dialect, &mut self.figures);
        self.scanner.push(bytes, &mut |path, scalar| figures.take(dialect, path, scalar));
    }
}

pub(crate) fn is_event_stream(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/event-stream")
}

/// None where nothing was told.
fn sum(parts: &[Option<u64>; PARTS]) -> Option<u64> {
    parts.iter().flatten().copied().reduce(u64::saturating_add)
}

/// Whether a path leads through one of `usage` to one of `places`.
fn is_below(usage: &[Place], places: &[Place], path: &[String]) -> bool {
    let path = || path.iter().map(String::as_str);
    places.iter().any(|place| usage.iter().any(|usage| usage.iter().chain(*place).copied().eq(path())))
}

impl Figures {
    fn take(&mut self, dialect: &Dialect, path: &[String], scalar: &str) {
        if let [key] = path {
            self.ended |= dialect.ends.contains(&(key.as_str(), scalar));
        }
        // A stream that is no event stream is one list.
        let path = match path {
            [list, inner @ ..] if list.is_empty() => inner,
            path => path,
        };
        let path = match path {
            [outer, inner @ ..] if dialect.wrappers.contains(&outer.as_str()) => inner,
            path => path,
        };
        let Some((figure, within)) = path.split_last() else { return };
        if within.is_empty() && dialect.model.is_some_and(|model| figure == model) {
            self.model = Some(scalar.to_owned());
        }
        let Ok(tokens) = scalar.parse() else { return };
        for (places, part) in [
            (dialect.cached, &mut self.cached),
            (dialect.stored, &mut self.stored),
            (dialect.stored_long, &mut self.stored_long),
        ] {
            if is_below(dialect.usage, places, path) {
                *part = Some(tokens);
            }
        }
        if !dialect.usage.iter().any(|place| *place == within) {
            return;
        }
        for (names, parts) in [(dialect.input, &mut self.input), (dialect.output, &mut self.output)] {
            let named = names.iter().zip(parts).find(|(names, _)| names.contains(&figure.as_str()));
            if let Some((_, part)) = named {
                *part = Some(tokens);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chiton_policy::Provider;

    use super::*;

    fn read(provider: Provider, kind: &str, body: &str, chunk: usize) -> Usage {
        let mut reader = UsageReader::new(provider.facts().dialect, Some(kind));
        body.as_bytes().chunks(chunk).for_each(|chunk| reader.push(chunk));
        reader.usage()
    }

    fn every_chunking(provider: Provider, kind: &str, body: &str, wanted: (&str, u64, u64)) {
        let wanted = Usage {
            model: Some(wanted.0.into()),
            input_tokens: Some(wanted.1),
            output_tokens: Some(wanted.2),
            ..Usage::default()
        };
        for chunk in [1, 2, 3, 7, 64, body.len()] {
            let told = read(provider, kind, body, chunk);
            let told = Usage { cached_tokens: None, stored_tokens: None, stored_long_tokens: None, ..told };
            assert_eq!(told, wanted, "{chunk}: {body}");
        }
    }

    #[test]
    fn plain_answers() {
        let chat = r#"{"id":"c","object":"chat.completion","model":"gpt-5.2","choices":[{"index":0,"message":{"role":"assistant","content":"the \"usage\": {\"prompt_tokens\": 9}"}}],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":3}}}"#;
        every_chunking(Provider::OpenAi, "application/json", chat, ("gpt-5.2", 12, 7));
        let responses = r#"{ "model" : "o5", "usage" : { "input_tokens" : 4 , "output_tokens" : 5 } }"#;
        every_chunking(Provider::OpenAi, "application/json; charset=utf-8", responses, ("o5", 4, 5));
        let message = r#"{"model":"claude","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":2}}"#;
        every_chunking(Provider::Anthropic, "application/json", message, ("claude", 60, 2));
    }

    #[test]
    fn streamed_answers() {
        let chat = "data: {\"model\":\"gpt\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n\
                    data: {\"model\":\"gpt\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";
        every_chunking(Provider::OpenAi, "text/event-stream", chat, ("gpt", 3, 4));
        let responses = "event: response.created\r\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"o5\",\"usage\":null}}\r\n\r\n\
                         event: response.completed\r\ndata: {\"type\":\"response.completed\",\"response\":{\"model\":\"o5\",\"usage\":{\"input_tokens\":8,\"output_tokens\":9}}}\r\n\r\n";
        every_chunking(Provider::OpenAi, "text/event-stream; charset=utf-8", responses, ("o5", 8, 9));
        let messages = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
                        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"{\\\"usage\\\"\"}}\n\n\
                        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n";
        every_chunking(Provider::Anthropic, "text/event-stream", messages, ("claude", 25, 15));
    }

    #[test]
    fn how_far_a_stream_is() {
        let messages = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
                        : comment\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"data: x\"}}\n\n";
        for chunk in [1, 5, messages.len()] {
            let mut reader = UsageReader::new(Provider::Anthropic.facts().dialect, Some("text/event-stream"));
            assert_eq!(reader.progress(), Progress::default());
            messages.as_bytes().chunks(chunk).for_each(|chunk| reader.push(chunk));
            let far = Progress { input_tokens: Some(25), output_tokens: Some(1), events: 2 };
            assert_eq!(reader.progress(), far, "{chunk}");
        }
    }

    #[test]
    fn every_provider_tells_its_usage_plain_and_streamed() {
        const CHAT: &str =
            r#"{"model":"m","choices":[{}],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#;
        const EMBED: &str =
            r#"{"model":"m","response":"x","done":true,"prompt_eval_count":11,"eval_count":7}"#;
        const GEMINI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":8,"toolUsePromptTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":18},"modelVersion":"m"}"#;
        const MESSAGE: &str = r#"{"model":"m","content":[],"usage":{"input_tokens":11,"output_tokens":7}}"#;
        for provider in Provider::ALL {
            let mut told: Vec<(&str, String)> = Vec::new();
            match provider {
                Provider::Google => {
                    let first = r#"{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":1}}"#;
                    told.push(("application/json", GEMINI.to_owned()));
                    told.push(("application/json", format!("[{first}\n,\r\n{GEMINI}]")));
                    told.push(("text/event-stream", format!("data: {first}\r\n\r\ndata: {GEMINI}\r\n\r\n")));
                }
                Provider::Anthropic => {
                    told.push(("application/json", MESSAGE.to_owned()));
                    told.push(("text/event-stream", format!("data: {{\"message\":{MESSAGE}}}\n\n")));
                }
                // Has a test of its own: its answers do not name their model.
                Provider::Bedrock => continue,
                Provider::Ollama => {
                    let first = r#"{"model":"m","response":"y","done":false}"#;
                    told.push(("application/json", EMBED.to_owned()));
                    told.push(("application/x-ndjson", format!("{first}\n{EMBED}\n")));
                    told.push(("text/event-stream", format!("data: {CHAT}\n\ndata: [DONE]\n\n")));
                }
                Provider::Groq => {
                    let last = r#"{"model":"m","choices":[],"x_groq":{"usage":{"prompt_tokens":11,"completion_tokens":7}}}"#;
                    told.push(("application/json", CHAT.to_owned()));
                    told.push(("text/event-stream", format!("data: {last}\n\ndata: [DONE]\n\n")));
                }
                Provider::OpenAi
                | Provider::AzureOpenAi
                | Provider::OpenRouter
                | Provider::Mistral
                | Provider::OpenAiCompatible => {
                    told.push(("application/json", CHAT.to_owned()));
                    told.push(("text/event-stream", format!("data: {CHAT}\n\ndata: [DONE]\n\n")));
                }
            }
            for (kind, body) in told {
                every_chunking(provider, kind, &body, ("m", 11, 7));
            }
            let facts = provider.facts();
            assert!(facts.dialect.input.len() <= PARTS && facts.dialect.output.len() <= PARTS);
        }
    }

    fn read_bytes(kind: &str, body: &[u8], chunk: usize) -> UsageReader {
        let mut reader = UsageReader::new(Provider::Bedrock.facts().dialect, Some(kind));
        body.chunks(chunk).for_each(|chunk| reader.push(chunk));
        reader
    }

    #[test]
    fn what_bedrock_tells_plain_and_in_frames() {
        use chiton_testkit::frames::{chunk, frame};
        let usage = Usage {
            input_tokens: Some(11),
            output_tokens: Some(7),
            cached_tokens: Some(3),
            stored_tokens: Some(2),
            ..Usage::default()
        };
        let told = r#"{"usage":{"inputTokens":6,"outputTokens":7,"cacheReadInputTokens":3,"cacheWriteInputTokens":2},"p":"ab"}"#;
        let spoken = r#"{"contentBlockIndex":0,"delta":{"text":"\"usage\":{\"inputTokens\":9}"}}"#;
        let start = r#"{"type":"message_start","message":{"model":"c","usage":{"input_tokens":6,"output_tokens":1}}}"#;
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":6,"outputTokenCount":7,"cacheReadInputTokenCount":3,"cacheWriteInputTokenCount":2}}"#;
        let frames =
            [frame("contentBlockDelta", spoken.as_bytes()), frame("metadata", told.as_bytes())].concat();
        let chunks = [chunk(start), chunk(stop)].concat();
        for (kind, body) in [
            ("application/json", told.as_bytes()),
            ("application/vnd.amazon.eventstream", &frames),
            ("Application/vnd.amazon.eventstream; x=y", &chunks),
        ] {
            for chunk in [1, 2, 3, 11, 12, 13, 64, body.len()] {
                assert_eq!(read_bytes(kind, body, chunk).usage(), usage, "{kind} {chunk}");
            }
        }
        assert!(read_bytes("application/vnd.amazon.eventstream", &chunks, 9).has_ended());
        // What is broken tells nothing more.
        let mut broken = frames.clone();
        broken[20] ^= 1;
        assert!(!read_bytes("application/vnd.amazon.eventstream", &broken, 7).usage().is_told());
    }

    #[test]
    fn what_the_head_tells_goes_before_the_body() {
        let mut headers = HeaderMap::new();
        let dialect = Provider::Bedrock.facts().dialect;
        let with = |headers: &HeaderMap| {
            let mut reader = UsageReader::new(dialect, Some("application/json")).with_fields(headers);
            reader.push(br#"{"usage":{"input_tokens":5,"output_tokens":9}}"#);
            let usage = reader.usage();
            (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
        };
        headers.insert("x-amzn-bedrock-input-token-count", "no".parse().unwrap());
        assert_eq!(with(&headers), (Some(5), Some(9), None));
        headers.insert("x-amzn-bedrock-input-token-count", "14".parse().unwrap());
        headers.insert("x-amzn-bedrock-cache-read-input-token-count", "4".parse().unwrap());
        headers.insert("x-amzn-bedrock-output-token-count", "36".parse().unwrap());
        assert_eq!(with(&headers), (Some(18), Some(36), Some(4)));
    }

    #[test]
    fn what_was_cached_and_where_a_stream_ends_is_told() {
        let cached = |provider, body: &str| {
            let usage = read(provider, "application/json", body, 3);
            (usage.cached_tokens, usage.stored_tokens, usage.stored_long_tokens)
        };
        let chat = r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":3},"other":{"cached_tokens":7}}}"#;
        assert_eq!(cached(Provider::OpenAi, chat), (Some(3), None, None));
        let responses = r#"{"response":{"usage":{"input_tokens_details":{"cached_tokens":4}}}}"#;
        assert_eq!(cached(Provider::OpenAi, responses), (Some(4), None, None));
        let message = r#"{"message":{"usage":{"input_tokens":1,"cache_read_input_tokens":5,"cache_creation_input_tokens":6,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":2}}}}"#;
        assert_eq!(cached(Provider::Anthropic, message), (Some(5), Some(6), Some(2)));
        assert_eq!(
            cached(Provider::Google, r#"[{"usageMetadata":{"cachedContentTokenCount":8}}]"#),
            (Some(8), None, None)
        );
        for (provider, kind, body, ended) in [
            (Provider::OpenAi, "text/event-stream", "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true),
            (
                Provider::OpenAi,
                "text/event-stream",
                "data: {\"x\":[\"DONE\"],\"y\":{\"type\":\"response.completed\"}}\n\n",
                false,
            ),
            (Provider::OpenAi, "text/event-stream", "data: {\"type\":\"response.completed\"}\n\n", true),
            (
                Provider::Anthropic,
                "text/event-stream",
                "data: {\"type\":\"message_delta\",\"delta\":{\"text\":\"message_stop\"}}\n\n",
                false,
            ),
            (Provider::Anthropic, "text/event-stream", "data: {\"type\":\"message_stop\"}\n\n", true),
            (Provider::Ollama, "application/x-ndjson", "{\"done\":false}\n{\"done\":true}\n", true),
        ] {
            let mut reader = UsageReader::new(provider.facts().dialect, Some(kind));
            reader.push(body.as_bytes());
            assert_eq!(reader.has_ended(), ended, "{body}");
        }
    }

    #[test]
    fn no_figures_in_what_is_not_json_and_no_memory_for_it() {
        let deep = "[".repeat(100_000) + "\"" + &"x".repeat(100_000);
        assert_eq!(read(Provider::OpenAi, "application/json", &deep, 4096), Usage::default());
        assert_eq!(
            read(Provider::OpenAi, "application/json", "}}]]{\"usage\":{\"prompt_tokens\":-1}}", 3),
            Usage::default()
        );
    }
}
