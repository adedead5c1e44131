//! An event as one log takes it over from another: its text, and what is counted of it.
//!
//! Nearly every line that a sandbox's processes write is, byte for byte, what [`Event::to_line`] would write of it
//! again. That is told here by one look from its first byte to its last, and such a line is taken as it is. Every other
//! line is read into an [`Event`] and written anew: the look only has to be right where it says yes.

use std::str::FromStr;

use crate::{
    Decision, Event, EventId, Layer, ParseError, Time, chain,
    code::is_code,
    event::{LONGEST_TEXT, in_words},
    json::is_plain,
};

/// An event that is to be linked into a chain. Its text is as [`Event::to_line`] writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was.
    pub time: Time,
    /// Its id.
    pub id: EventId,
    /// The layer that refused, where it is a refusal.
    pub denied: Option<Layer>,
    pub(crate) text: String,
}

impl Entry {
    /// Reads a line of the event file of this sandbox, with or without its link. Whatever the line says of it, the event
    /// is this sandbox's.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn read(line: &str, sandbox: &str) -> Result<Self, ParseError> {
        let text = chain::split(line).map_or_else(|| line.to_owned(), |(text, _)| text);
        if let Some(Seen { time, id, denied }) = look(&text, sandbox) {
            return Ok(Self { time, id, denied, text });
        }
        let mut event = Event::parse(line)?.event;
        event.sandbox = Some(sandbox.to_owned());
        Ok(Self::from(&event))
    }
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        let denied = (event.decision == Some(Decision::Deny)).then_some(event.layer);
        Self { time: event.time, id: event.id, denied, text: event.to_line() }
    }
}

struct Seen {
    time: Time,
    id: EventId,
    denied: Option<Layer>,
}

/// Looks whether `text` is exactly what [`Event::to_line`] writes of an event of this sandbox. No, where it is not
/// certain: of model calls, and of texts with escapes.
fn look(text: &str, sandbox: &str) -> Option<Seen> {
    let mut at = At { rest: text, first: true };
    at.open()?;
    let time = at.field("time").and_then(as_written)?;
    let id = at.field("id").and_then(as_written)?;
    at.field("sandbox").filter(|name| *name == sandbox)?;
    at.number::<u64>("revision")?;
    let layer = in_words(&Layer::ALL, Layer::as_str, at.field("layer")?)?;
    at.field("action").filter(|word| is_code(word))?;
    let mut denied = None;
    if at.key("decision") {
        let decision = in_words(&Decision::ALL, Decision::as_str, at.text()?)?;
        denied = (decision == Decision::Deny).then_some(layer);
    }
    at.code("reason")?;
    at.texts(["rule", "binary"])?;
    if at.key("request") {
        at.open()?;
        at.texts(["method"])?;
        at.code("scheme")?;
        at.texts(["host"])?;
        at.number::<u16>("port")?;
        at.texts(["path"])?;
        at.names("query")?;
        at.number::<u32>("arguments")?;
        at.close()?;
    }
    if at.key("response") {
        at.open()?;
        at.number::<u16>("status")?;
        for figure in ["sent", "bytes", "first_byte_us", "duration_us"] {
            at.number::<u64>(figure)?;
        }
        at.close()?;
    }
    at.close()?;
    at.rest.is_empty().then_some(Seen { time, id, denied })
}

/// A place in a text of JSON without any space.
struct At<'a> {
    rest: &'a str,
    /// No key of the innermost object was taken yet.
    first: bool,
}

impl<'a> At<'a> {
    fn take(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    /// The beginning of an object.
    fn open(&mut self) -> Option<()> {
        self.first = true;
        self.take("{")
    }

    /// Its end. It is a field's value, so that a comma comes before whatever comes next.
    fn close(&mut self) -> Option<()> {
        self.first = false;
        self.take("}")
    }

    /// Takes a key, where it is the next.
    fn key(&mut self, key: &str) -> bool {
        let rest = if self.first { Some(self.rest) } else { self.rest.strip_prefix(',') };
        let rest = rest.and_then(|rest| rest.strip_prefix('"')?.strip_prefix(key)?.strip_prefix("\":"));
        if let Some(rest) = rest {
            (self.rest, self.first) = (rest, false);
        }
        rest.is_some()
    }

    /// Takes a text without escapes that is not too long to be written whole.
    fn text(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('"')?;
        let end = rest.bytes().position(|byte| !is_plain(byte))?;
        let (text, rest) = rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix('"')?;
        (text.len() <= LONGEST_TEXT).then_some(text)
    }

    /// Takes a key that has to be the next, and its text.
    fn field(&mut self, key: &str) -> Option<&'a str> {
        self.key(key).then(|| self.text()).flatten()
    }

    /// Takes these keys, each where it is there.
    fn texts<const N: usize>(&mut self, keys: [&str; N]) -> Option<()> {
        for key in keys {
            if self.key(key) {
                self.text()?;
            }
        }
        Some(())
    }

    /// Takes a key whose value is a [`Code`](crate::Code), where it is there.
    fn code(&mut self, key: &str) -> Option<()> {
        if self.key(key) {
            self.text().filter(|word| is_code(word))?;
        }
        Some(())
    }

    /// Takes a key whose value is a number of this type, where it is there.
    fn number<T: FromStr>(&mut self, key: &str) -> Option<()> {
        if self.key(key) {
            let end = self.rest.bytes().position(|byte| !byte.is_ascii_digit())?;
            let (digits, rest) = self.rest.split_at_checked(end)?;
            if digits.len() > 1 && digits.starts_with('0') {
                return None;
            }
            digits.parse::<T>().ok()?;
            self.rest = rest;
        }
        Some(())
    }

    /// Takes a key whose value is a list of texts, at least one, where it is there.
    fn names(&mut self, key: &str) -> Option<()> {
        if self.key(key) {
            self.take("[")?;
            self.text()?;
            while self.take(",").is_some() {
                self.text()?;
            }
            self.take("]")?;
        }
        Some(())
    }
}

/// What a text says, where it is written as we write it.
fn as_written<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|value: &T| value.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, Request, Response, tests::full};

    const NAME: &str = "demo";

    /// What a line comes to without the look.
    fn anew(line: &str) -> Option<Entry> {
        let mut event = Event::parse(line).ok()?.event;
        event.sandbox = Some(NAME.to_owned());
        Some(Entry::from(&event))
    }

    /// With everything in it, with hardly anything, and with what has to be escaped or read anew.
    fn events() -> Vec<Event> {
        let mut full = Event { llm: None, binary: Some("/usr/bin/cürl".to_owned()), ..full() };
        full.request = full.request.map(|request| Request { arguments: Some(0), ..request });
        full.response = full.response.map(|of| Response { sent: Some(1), first_byte_us: Some(2), ..of });
        let mut bare = Event::new(Layer::Process, "exec");
        bare.sandbox = Some(NAME.to_owned());
        let mut empty = bare.clone();
        (empty.request, empty.response) = (Some(Request::default()), Some(Response::default()));
        vec![full, bare, empty]
    }

    #[test]
    fn what_we_write_is_taken_as_it_is() {
        for event in events() {
            let line = event.to_line();
            assert!(look(&line, NAME).is_some(), "{line}");
            let taken = Entry::read(&Chain::NEW.linked(&event).0, NAME).unwrap();
            assert_eq!((&taken.text, taken.time, taken.id), (&line, event.time, event.id));
            assert!(look(&line, "other").is_none());
            let elsewhere = Entry::read(&line, "other").unwrap();
            assert_eq!(elsewhere.text, line.replace(r#""sandbox":"demo""#, r#""sandbox":"other""#));
        }
        let mut long = Event::new(Layer::Filesystem, "open");
        long.sandbox = Some(NAME.to_owned());
        long.request = Some(Request::file("p".repeat(LONGEST_TEXT + 1)));
        let line = serde_json::to_string(&long).unwrap();
        assert_eq!(Entry::read(&line, NAME).unwrap().text, long.to_line());
    }

    /// Every line that is nearly one of ours, by every byte in it: taken as it is only where that is what it would be
    /// written as.
    #[test]
    fn nothing_is_taken_that_would_be_written_otherwise() {
        let other = b" \"\\,:{}[]0159AZazTZ.-_+eE\x01\x7fnul\xc3\xbc";
        let both = |changed: Vec<u8>| {
            let Ok(line) = String::from_utf8(changed) else { return };
            assert_eq!(Entry::read(&line, NAME).ok(), anew(&line), "{line}");
        };
        for event in events() {
            let (linked, chain) = Chain::NEW.linked(&event);
            let (_, link) = linked.split_at(event.to_line().len() - 1);
            both(linked.clone().into_bytes());
            both([linked.trim_end_matches('}'), link].concat().into_bytes());
            both(linked.replace(&chain.head().to_string(), &"A".repeat(64)).into_bytes());
        }
        for line in events().iter().map(Event::to_line) {
            let bytes = line.as_bytes();
            for at in 0..bytes.len() {
                let (before, after) = (&bytes[..at], &bytes[at..]);
                both([before, &after[1..]].concat());
                for byte in other {
                    both([before, &[*byte], &after[1..]].concat());
                    both([before, &[*byte], after].concat());
                }
                both([before, b"\xc3\xbc", after].concat());
            }
            // Whole fields twice, out of their order, or gone.
            let fields: Vec<&str> = line.split_inclusive(',').collect();
            for one in 0..fields.len() {
                for other in 0..fields.len() {
                    let mut swapped = fields.clone();
                    swapped.swap(one, other);
                    both(swapped.concat().into_bytes());
                    let mut twice = fields.clone();
                    twice.insert(one, fields[other]);
                    both(twice.concat().into_bytes());
                }
            }
        }
        for time in
            ["2026-02-30T14:13:20.000010Z", "2026-09-21T14:13:60.000010Z", "2026-09-21T24:13:20.000010Z"]
        {
            let line = events()[1].to_line();
            let (before, after) = line.split_at(r#"{"time":""#.len());
            both(format!("{before}{time}{}", &after[27..]).into_bytes());
        }
    }
}
