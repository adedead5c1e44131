//! A body in chunks that somebody else has signed, signed anew as it goes by.
//!
//! Comes in: the body in pieces of any length. Goes out: the same chunks with other signatures, and so as many bytes.
//! A chunk goes out when the whole of it is there. What is no such body is an error, and nothing of it goes out.

use super::{ChunkSigner, sha256};

/// The most bytes that a chunk may have: it is held until it is signed.
const CHUNK: usize = 8 << 20;
/// The most that a line and the fields after the last chunk may have.
const LINE: usize = 16 << 10;
const SIGNATURE: &str = ";chunk-signature=";
const TRAILER: &str = "x-amz-trailer-signature:";

/// Why a body cannot be signed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It is not in signed chunks.
    #[error("the body is not in signed chunks, as its `x-amz-content-sha256` says")]
    Form,
    /// One of them is too long to be held.
    #[error("a signed chunk is over 8 MiB")]
    TooLong,
    /// It ends before its last chunk.
    #[error("the body ends before its last chunk")]
    Early,
}

/// Signs a body anew.
#[derive(Debug)]
pub struct ChunkResigner {
    signer: ChunkSigner,
    trailer: bool,
    state: State,
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before `SIZE;chunk-signature=…`.
    Line,
    /// In a chunk of so many bytes.
    Chunk(usize),
    /// After the last one.
    Fields,
    Over,
}

impl ChunkResigner {
    /// For a body whose request these signatures follow; `trailer`: fields come after its last chunk.
    #[must_use]
    pub const fn new(signer: ChunkSigner, trailer: bool) -> Self {
        Self { signer, trailer, state: State::Line, held: Vec::new() }
    }

    /// What goes out for a piece that came in.
    ///
    /// # Errors
    /// When it is no such body.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, ChunkError> {
        self.held.extend_from_slice(piece);
        let mut out = Vec::new();
        while self.step(&mut out)? {}
        Ok(out)
    }

    /// After the last piece.
    ///
    /// # Errors
    /// When the body has not ended.
    pub fn end(&self) -> Result<(), ChunkError> {
        if self.state == State::Over { Ok(()) } else { Err(ChunkError::Early) }
    }

    /// Whether there may be more to do with what is held.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, ChunkError> {
        match self.state {
            State::Line => {
                let Some(line) = self.line()? else { return Ok(false) };
                let size = size_of(&line)?;
                if size > 0 {
                    self.state = State::Chunk(size);
                    return Ok(true);
                }
                let signature = self.signer.chunk(sha256(b""));
                out.extend_from_slice(format!("0{SIGNATURE}{signature}\r\n").as_bytes());
                self.state = State::Fields;
            }
            State::Chunk(size) => {
                let (Some(chunk), Some(end)) = (self.held.get(..size), self.held.get(size..size + 2)) else {
                    return Ok(false);
                };
                if end != b"\r\n" {
                    return Err(ChunkError::Form);
                }
                let signature = self.signer.chunk(sha256(chunk));
                out.extend_from_slice(format!("{size:x}{SIGNATURE}{signature}\r\n").as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
                self.held.drain(..size + 2);
                self.state = State::Line;
            }
            State::Fields => return self.fields(out),
            State::Over if !self.held.is_empty() => return Err(ChunkError::Form),
            State::Over => return Ok(false),
        }
        Ok(true)
    }

    /// All fields at once, up to the empty line.
    fn fields(&mut self, out: &mut Vec<u8>) -> Result<bool, ChunkError> {
        let end = if self.trailer { find(&self.held, b"\r\n\r\n").map(|at| at + 2) } else { Some(0) };
        let Some(end) = end.filter(|end| self.held.len() >= end + 2) else {
            return if self.held.len() > LINE { Err(ChunkError::TooLong) } else { Ok(false) };
        };
        let rest: Vec<u8> = self.held.drain(..end + 2).collect();
        let text = std::str::from_utf8(&rest).map_err(|_| ChunkError::Form)?;
        let text = text.strip_suffix("\r\n").ok_or(ChunkError::Form)?;
        let (mut kept, mut signed) = (String::new(), 0);
        for line in text.split_terminator("\r\n") {
            // Written anew, each would have another length than was said.
            if line.contains(['\r', '\n']) {
                return Err(ChunkError::Form);
            }
            match line.strip_prefix(TRAILER) {
                Some(digits) if digits.len() == 64 => signed += 1,
                Some(_) => return Err(ChunkError::Form),
                None => kept.push_str(&format!("{line}\n")),
            }
        }
        if signed != usize::from(self.trailer) {
            return Err(ChunkError::Form);
        }
        if self.trailer {
            let signature = self.signer.trailer(&kept);
            out.extend_from_slice(kept.replace('\n', "\r\n").as_bytes());
            out.extend_from_slice(format!("{TRAILER}{signature}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        self.state = State::Over;
        Ok(true)
    }

    fn line(&mut self) -> Result<Option<String>, ChunkError> {
        let Some(end) = find(&self.held, b"\r\n") else {
            return if self.held.len() > LINE { Err(ChunkError::Form) } else { Ok(None) };
        };
        let line: Vec<u8> = self.held.drain(..end + 2).collect();
        let line = line.get(..end).unwrap_or_default().to_vec();
        String::from_utf8(line).map(Some).map_err(|_| ChunkError::Form)
    }
}

/// `400;chunk-signature=…`: 64 digits, whatever they are.
fn size_of(line: &str) -> Result<usize, ChunkError> {
    let (size, signature) = line.split_once(SIGNATURE).ok_or(ChunkError::Form)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits(size) || size.len() > 8 || !digits(signature) || signature.len() != 64 {
        return Err(ChunkError::Form);
    }
    // Written anew without the zeros before it, it would be shorter than was said.
    if size.len() > 1 && size.starts_with('0') {
        return Err(ChunkError::Form);
    }
    let size = usize::from_str_radix(size, 16).map_err(|_| ChunkError::Form)?;
    if size > CHUNK { Err(ChunkError::TooLong) } else { Ok(size) }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, Method};

    use super::*;
    use crate::{Credentials, Payload, Scope, Signer, ToSign};

    fn signer(secret: &str, payload: Payload) -> ChunkSigner {
        let credentials = Credentials::parse(&chiton_secret::SecretValue::new(
            format!("AKIAIOSFODNN7EXAMPLE:{secret}").into_bytes(),
        ))
        .unwrap();
        let scope = Scope::new("us-east-1", "s3").unwrap();
        let headers = HeaderMap::new();
        let request = ToSign {
            method: &Method::PUT,
            host: "a.s3.amazonaws.com",
            path: "/k",
            query: "",
            headers: &headers,
            payload,
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Signer::new(&credentials, &scope).sign(&request, at).unwrap().into_chunks()
    }

    fn body(mut signer: ChunkSigner, chunks: &[&[u8]], trailer: Option<&str>) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in chunks {
            let signature = signer.chunk(sha256(chunk)).to_owned();
            body.extend(format!("{:x};chunk-signature={signature}\r\n", chunk.len()).into_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        let signature = signer.chunk(sha256(b"")).to_owned();
        body.extend(format!("0;chunk-signature={signature}\r\n").into_bytes());
        if let Some(field) = trailer {
            let signature = signer.trailer(&format!("{field}\n"));
            body.extend(format!("{field}\r\nx-amz-trailer-signature:{signature}\r\n").into_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body
    }

    #[test]
    fn whatever_the_pieces_it_is_the_body_that_the_other_would_have_signed() {
        let big = vec![7; 70_000];
        for (payload, trailer) in
            [(Payload::Chunks, None), (Payload::ChunksAndTrailer, Some("x-amz-checksum-crc32:AAAAAA=="))]
        {
            for chunks in [&[][..], &[b"hello".as_slice(), &big, b"\r\n\r\n0;chunk"][..]] {
                let theirs = body(signer("theirs", payload), chunks, trailer);
                let ours = body(signer("ours", payload), chunks, trailer);
                assert_ne!(theirs, ours);
                for length in [1, 7, 64, 1000, theirs.len()] {
                    let mut resigner = ChunkResigner::new(signer("ours", payload), trailer.is_some());
                    let mut out = Vec::new();
                    for piece in theirs.chunks(length) {
                        out.extend(resigner.push(piece).unwrap());
                    }
                    resigner.end().unwrap();
                    assert!(out == ours, "{length}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_body_is_an_error() {
        let good = body(signer("theirs", Payload::Chunks), &[b"hello"], None);
        let with = |text: &str| text.as_bytes().to_vec();
        let line = format!("5;chunk-signature={}\r\n", "a".repeat(64));
        for (bad, error) in [
            (with("hello\r\n"), ChunkError::Form),
            (with(&line.replace("5;", "05;")), ChunkError::Form),
            (with(&line.replace("5;", "fffffff;")), ChunkError::TooLong),
            (with(&line.replace("aa", "a")), ChunkError::Form),
            (with(&format!("{line}helloXX")), ChunkError::Form),
            ([good.clone(), with("more")].concat(), ChunkError::Form),
            (vec![b'5'; 20_000], ChunkError::Form),
        ] {
            let mut resigner = ChunkResigner::new(signer("ours", Payload::Chunks), false);
            assert_eq!(resigner.push(&bad).unwrap_err(), error);
        }
        let end = format!("0;chunk-signature={}\r\n", "a".repeat(64));
        let by = format!("x-amz-trailer-signature:{}\r\n", "a".repeat(64));
        for fields in [
            // Each would come out longer, or shorter, than it came in.
            format!("x-amz-checksum-crc32:AA\nGET /other HTTP/1.1\n\r\n{by}"),
            format!("x-amz-checksum-crc32:AA\n\n\r\n{by}"),
            format!("x-amz-checksum-crc32:AA\r\n{by}{by}"),
            format!("x-amz-checksum-crc32:AA\r\n{}", by.replace("aa", "a")),
            "x-amz-checksum-crc32:AA\r\n".to_owned(),
        ] {
            let mut resigner = ChunkResigner::new(signer("ours", Payload::ChunksAndTrailer), true);
            let error = resigner.push(format!("{end}{fields}\r\n").as_bytes()).unwrap_err();
            assert_eq!(error, ChunkError::Form, "{fields}");
        }
        for end in 0..good.len() {
            let mut resigner = ChunkResigner::new(signer("ours", Payload::Chunks), false);
            if resigner.push(&good[..end]).is_ok() {
                assert_eq!(resigner.end(), Err(ChunkError::Early), "{end}");
            }
        }
    }
}
