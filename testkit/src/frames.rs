//! Frames of Amazon's event streams, as a server writes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::Crc;

/// An event of this type with a payload of JSON.
#[must_use]
pub fn frame(event: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    let fields = [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")];
    for (name, value) in fields {
        headers.push(u8::try_from(name.len()).expect("a short name"));
        headers.extend(name.as_bytes());
        // A string.
        headers.push(7);
        headers.extend(u16::try_from(value.len()).expect("a short value").to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let long = |length: usize| u32::try_from(length).expect("a short frame").to_be_bytes();
    let mut frame = [long(16 + headers.len() + payload.len()), long(headers.len())].concat();
    frame.extend(checksum(&frame));
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(checksum(&frame));
    frame
}

/// A piece of what a model says by `invoke-with-response-stream`.
#[must_use]
pub fn chunk(told: &str) -> Vec<u8> {
    frame("chunk", format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(told)).as_bytes())
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum().to_be_bytes()
}
