//! A header's value that comes back in every form that a careless server could give it.

use std::io::Write;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use std::time::Duration;

use super::echo::streamed;
use crate::server::{Answer, Received, answer};

/// `header` names whose value is sent back, `split` cuts the body into two pieces after so many bytes.
pub fn answer_request(coding: &str, received: &Received) -> Answer {
    let name = received.query("header").unwrap_or_else(|| "authorization".to_owned());
    let value = received.seen.header(&name).unwrap_or_default().to_owned();
    let text = format!("the server got {name}: {value} and says it again: {value}.\n");
    let Some((body, content_encoding)) = encode(coding, &text, &value) else {
        return answer(400, "text/plain", "no such coding\n");
    };
    let mut reply = match received.query("split").and_then(|at| at.parse::<usize>().ok()) {
        Some(at) if at < body.len() => {
            let (first, second) = body.split_at(at);
            let pieces = vec![Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)];
            streamed("text/plain", pieces, Duration::from_millis(5))
        }
        _ => answer(200, "text/plain", body),
    };
    if let Some(encoding) = content_encoding {
        reply.headers_mut().insert("content-encoding", encoding.parse().expect("a header"));
    }
    if coding == "header" {
        reply.headers_mut().insert("x-echo", value.parse().expect("a header"));
    }
    reply
}

/// The text in a coding, and what `content-encoding` says of it.
#[must_use]
pub fn encode(coding: &str, text: &str, value: &str) -> Option<(Vec<u8>, Option<&'static str>)> {
    let bytes = text.as_bytes();
    Some(match coding {
        "identity" | "header" => (bytes.to_vec(), None),
        "gzip" => (gzip(bytes), Some("gzip")),
        "deflate" => (zlib(bytes), Some("deflate")),
        "deflate-raw" => (raw_deflate(bytes), Some("deflate")),
        "br" => (brotli(bytes), Some("br")),
        "zstd" => (zstd::encode_all(bytes, 3).expect("zstd"), Some("zstd")),
        "percent" => (percent(text).into_bytes(), None),
        "base64" => (STANDARD.encode(text).into_bytes(), None),
        "base64url" => (URL_SAFE_NO_PAD.encode(text).into_bytes(), None),
        // The value at each of the three alignments.
        "base64-1" => (STANDARD.encode(format!("a{value}")).into_bytes(), None),
        "base64-2" => (STANDARD.encode(format!("ab{value}")).into_bytes(), None),
        "unknown" => (bytes.to_vec(), Some("x-unknown")),
        _ => return None,
    })
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A Brotli stream of one uncompressed meta-block (RFC 7932, section 9.2): valid for every decoder, and
/// written without an encoder.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    assert!((1..=1 << 16).contains(&bytes.len()), "one meta-block");
    let length = u32::try_from(bytes.len() - 1).expect("fits");
    // WBITS 16 (0), ISLAST 0, MNIBBLES 4 (00), MLEN-1 in 16 bits, ISUNCOMPRESSED 1; then to the byte's end.
    let head = (length << 4) | (1 << 20);
    let mut stream = head.to_le_bytes()[..3].to_vec();
    stream.extend_from_slice(bytes);
    // ISLAST 1, ISLASTEMPTY 1.
    stream.push(0b11);
    stream
}
