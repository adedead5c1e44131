//! Leaves out of a stream the chunk that nobody but us asked for.
//!
//! Where the usage was asked for by us, a chat stream ends with a chunk without choices, which programs that
//! did not ask stumble over. An event is held until its end and only as long as it may be that chunk.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

/// Longer events are passed as they come: the chunk in question is small.
const LONGEST: usize = 8 * 1024;

/// Filters the event stream of a request with
/// [`usage_added`](crate::PreparedRequest::usage_added).
#[derive(Debug, Default)]
pub struct UsageChunkFilter {
    held: BytesMut,
    /// The rest of an event that was too long to be held.
    passing: bool,
}

impl UsageChunkFilter {
    /// Takes the next bytes and gives what the caller may see by now.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.held.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        while let Some(end) = event_end(&self.held) {
            let event = self.held.split_to(end);
            if self.passing || !is_usage_chunk(&event) {
                out.extend_from_slice(&event);
            }
            self.passing = false;
        }
        if self.passing || self.held.len() > LONGEST {
            self.passing = true;
            // The last bytes may be the half of an event's end.
            let keep = self.held.len().saturating_sub(3);
            out.extend_from_slice(&self.held.split_to(keep));
        }
        out.freeze()
    }

    /// What is left at the stream's end.
    pub fn finish(&mut self) -> Bytes {
        let rest = self.held.split().freeze();
        if !self.passing && is_usage_chunk(&rest) { Bytes::new() } else { rest }
    }
}

/// Just past the empty line that ends the first event.
fn event_end(text: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'\n', b'\r', text).find_map(|at| {
        let rest = text.get(at..)?;
        let ends: [&[u8]; 3] = [b"\r\n\r\n", b"\n\n", b"\r\r"];
        ends.iter().find(|end| rest.starts_with(end)).map(|end| at + end.len())
    })
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<serde::de::IgnoredAny>,
    usage: Option<serde_json::Map<String, serde_json::Value>>,
}

fn is_usage_chunk(event: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(event) else { return false };
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let (Some(data), None) = (data.next(), data.next()) else { return false };
    let chunk: Result<Chunk, _> = serde_json::from_str(data);
    chunk.is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests {
    use super::UsageChunkFilter;

    fn filter(text: &str, chunk: usize) -> String {
        let mut filter = UsageChunkFilter::default();
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(chunk) {
            out.extend_from_slice(&filter.push(piece));
        }
        out.extend_from_slice(&filter.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_chunk_goes_and_nothing_else() {
        for end in ["\n\n", "\r\n\r\n"] {
            let first = format!("data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":null}}{end}: ping{end}");
            let long = format!("data: {{\"choices\":[],\"pad\":\"{}\"}}{end}", "x".repeat(20_000));
            let usage = format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1}}}}{end}");
            let done = format!("data: [DONE]{end}");
            for chunk in [1, 2, 5, 100, 9000, 100_000] {
                assert_eq!(
                    filter(&format!("{first}{long}{usage}{done}"), chunk),
                    format!("{first}{long}{done}")
                );
            }
        }
    }

    #[test]
    fn a_whole_event_is_never_held() {
        let mut filter = UsageChunkFilter::default();
        let event = "data: {\"choices\":[1]}\n\n";
        assert_eq!(filter.push(event.as_bytes()), event);
    }
}
