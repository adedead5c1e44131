//! Reads the head of an HTTP/1 request, and refuses every head that two servers could read differently.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use memchr::{memchr, memchr3_iter};

use crate::limits;

/// Which HTTP/1 it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// No keep-alive by itself, no chunks.
    Http10,
    /// The ordinary case.
    Http11,
}

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    Empty,
    /// So many bytes, more than none.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
}

/// A head that can be read in one way only.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method.
    pub(crate) method: Method,
    /// The target, byte for byte.
    pub(crate) target: Bytes,
    /// The version.
    pub(crate) version: Version,
    /// All header fields.
    pub(crate) headers: HeaderMap,
    /// How the body is framed.
    pub(crate) framing: Framing,
    /// Whether the connection may be used again.
    pub(crate) keep_alive: bool,
    /// Whether the sender waits for `100 Continue`.
    pub(crate) expect_continue: bool,
}

/// Why a head is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    /// No request can be read at all: answered 400.
    #[error("not an HTTP/1 request: {0}")]
    Unreadable(&'static str),
    /// Two servers could read it differently: answered 403, with what could be read of it.
    #[error("{why}")]
    Ambiguous {
        /// The method and the target, where the request line could be read.
        line: Box<(Method, Bytes)>,
        /// What is ambiguous.
        why: &'static str,
    },
    /// Longer than [`limits::HEAD`] or more than [`limits::HEADERS`] fields: answered 431.
    #[error("the head of the request is too large")]
    TooLarge,
    /// Begun, and not ended within [`limits::FIRST_BYTES`]: answered 408.
    #[error("the head of the request did not end in time")]
    TooSlow,
}

/// Takes one head off the front of `buffer`. `Ok(None)`: more bytes are needed. `scanned` is how far an earlier
/// call looked in vain, so that slow bytes cost no more than fast ones.
pub(crate) fn take_head(buffer: &mut BytesMut, scanned: &mut usize) -> Result<Option<Head>, HeadError> {
    // An empty line before a request is left over from the one before, by custom.
    while buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
        *scanned = 0;
    }
    let Some(end) = end_of_head(buffer, scanned.saturating_sub(3)) else {
        *scanned = buffer.len();
        return if buffer.len() > limits::HEAD {
            Err(HeadError::TooLarge)
        } else {
            early(buffer).map(|()| None)
        };
    };
    if end > limits::HEAD {
        return Err(HeadError::TooLarge);
    }
    parse(buffer.split_to(end).freeze()).map(Some)
}

/// What cannot become a request is refused before its end comes.
fn early(buffer: &[u8]) -> Result<(), HeadError> {
    match buffer.first() {
        Some(b'\r') if buffer.len() == 1 => Ok(()),
        Some(byte) if !is_token(*byte) => Err(HeadError::Unreadable("it does not begin with a method")),
        Some(_) | None => Ok(()),
    }
}

/// The length of the head with its empty line, whatever ends its lines.
pub(super) fn end_of_head(buffer: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let rest = buffer.get(from..)?;
        let newline = from + memchr(b'\n', rest)?;
        match buffer.get(newline + 1..)? {
            [b'\n', ..] => return Some(newline + 2),
            [b'\r', b'\n', ..] => return Some(newline + 3),
            _ => from = newline + 1,
        }
    }
}

fn parse(raw: Bytes) -> Result<Head, HeadError> {
    let line_end = memchr(b'\n', &raw).unwrap_or(raw.len());
    let mut fields = [const { MaybeUninit::uninit() }; limits::HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(&raw, &mut fields);
    let Some((method, target)) = request_line(&raw, line_end) else {
        return Err(HeadError::Unreadable("the request line is malformed"));
    };
    let ambiguous = |why| HeadError::Ambiguous { line: Box::new((method.clone(), target.clone())), why };
    if let Some(why) = raw_ambiguity(&raw) {
        return Err(ambiguous(why));
    }
    match parsed {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(ambiguous("a header field is malformed")),
    }
    let version = match request.version {
        Some(0) => Version::Http10,
        Some(1) => Version::Http11,
        Some(_) | None => return Err(HeadError::Unreadable("the version is not 1.0 or 1.1")),
    };
    let headers =
        header_map(&raw, request.headers).ok_or_else(|| ambiguous("a header field is malformed"))?;
    let framing = framing(version, &headers).map_err(&ambiguous)?;
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(ambiguous("it has more than one `Host`"));
    }
    if version == Version::Http11 && !headers.contains_key(header::HOST) {
        return Err(ambiguous("it has no `Host`"));
    }
    let expect_continue = expect(version, &headers).map_err(&ambiguous)?;
    Ok(Head {
        keep_alive: keep_alive(version, &headers),
        method,
        target,
        version,
        headers,
        framing,
        expect_continue,
    })
}

/// Method and target of `METHOD SP target SP HTTP/1.x`, by a reading of our own: exactly two spaces.
fn request_line(raw: &Bytes, line_end: usize) -> Option<(Method, Bytes)> {
    let line = raw.get(..line_end)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") || target.is_empty() {
        return None;
    }
    if method.is_empty() || method.len() > 32 || !method.iter().copied().all(is_token) {
        return None;
    }
    if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    Some((Method::from_bytes(method).ok()?, raw.slice_ref(target)))
}

/// What httparse forgives and another server may not.
fn raw_ambiguity(raw: &[u8]) -> Option<&'static str> {
    const NUL: &str = "a header holds a NUL";
    for at in memchr3_iter(0, b'\r', b'\n', raw) {
        let before = at.checked_sub(1).and_then(|before| raw.get(before));
        match (raw.get(at), raw.get(at + 1)) {
            (Some(b'\r'), None | Some(b'\n')) => {}
            (Some(b'\r'), Some(0)) => return Some(NUL),
            (Some(b'\r'), Some(_)) => return Some("a line holds a bare carriage return"),
            (Some(b'\n'), _) if before != Some(&b'\r') => return Some("a line ends with a bare line feed"),
            (Some(b'\n'), Some(b' ' | b'\t')) => return Some("a header field is folded over two lines"),
            (Some(b'\n'), _) => {}
            _ => return Some(NUL),
        }
    }
    None
}

pub(super) fn header_map(raw: &Bytes, fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = if field.value.is_empty() { Bytes::new() } else { raw.slice_ref(field.value) };
        // No value holds a control character, but a tab.
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(headers)
}

/// How the body is framed: one `Content-Length` of digits, or one `Transfer-Encoding: chunked`, never both.
fn framing(version: Version, headers: &HeaderMap) -> Result<Framing, &'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::Empty),
        (Some(_), Some(_)) => Err("it has both `Content-Length` and `Transfer-Encoding`"),
        (Some(_), None) if version == Version::Http10 => Err("an HTTP/1.0 request has a `Transfer-Encoding`"),
        (Some(coding), None)
            if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err("its `Transfer-Encoding` is not exactly `chunked`"),
        (None, Some(length)) if lengths.next().is_none() => match digits(length.as_bytes()) {
            Some(0) => Ok(Framing::Empty),
            Some(length) => Ok(Framing::Length(length)),
            None => Err("its `Content-Length` is not a number"),
        },
        (None, Some(_)) => Err("it has more than one `Content-Length`"),
    }
}

pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn expect(version: Version, headers: &HeaderMap) -> Result<bool, &'static str> {
    let mut values = headers.get_all(header::EXPECT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Ok(version == Version::Http11)
        }
        (Some(_), _) => Err("its `Expect` is not `100-continue`"),
    }
}

pub(super) fn keep_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        let values = headers.get_all(header::CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(word))
    };
    match version {
        Version::Http11 => !says(b"close"),
        Version::Http10 => says(b"keep-alive") && !says(b"close"),
    }
}

/// A character of a method or of a field's name.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_in_pieces_is_taken_at_its_end() {
        let text = b"\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        let (mut buffer, mut scanned) = (BytesMut::new(), 0);
        let end = text.len() - 3;
        for (at, byte) in text.iter().enumerate() {
            buffer.extend_from_slice(&[*byte]);
            let head = take_head(&mut buffer, &mut scanned).unwrap();
            assert_eq!(head.is_some(), at + 1 == end, "{at}");
            if let Some(head) = head {
                assert_eq!((&head.method, &head.target[..]), (&Method::POST, &b"/a?b"[..]));
                assert_eq!((head.framing, head.version), (Framing::Length(3), Version::Http11));
                assert!(head.keep_alive && buffer.is_empty());
                return;
            }
        }
    }

    /// Of every text of up to seven of the bytes that matter: what a look at each byte in turn finds.
    #[test]
    fn the_first_ambiguity_is_named() {
        let byte_by_byte = |raw: &[u8]| {
            let mut before = 0;
            for byte in raw.iter().copied() {
                match byte {
                    0 => return Some("a header holds a NUL"),
                    b'\n' if before != b'\r' => return Some("a line ends with a bare line feed"),
                    b' ' | b'\t' if before == b'\n' => {
                        return Some("a header field is folded over two lines");
                    }
                    _ if before == b'\r' && byte != b'\n' => {
                        return Some("a line holds a bare carriage return");
                    }
                    _ => {}
                }
                before = byte;
            }
            None
        };
        const BYTES: &[u8] = b"a \t\r\n\0";
        for length in 0..=7 {
            for mut number in 0..BYTES.len().pow(length) {
                let mut text = Vec::new();
                for _ in 0..length {
                    text.push(BYTES[number % BYTES.len()]);
                    number /= BYTES.len();
                }
                assert_eq!(raw_ambiguity(&text), byte_by_byte(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn keep_alive_by_version() {
        for (text, wanted) in [
            ("GET / HTTP/1.1\r\nhost: h\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: h\r\nconnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", true),
        ] {
            let head = take_head(&mut BytesMut::from(text), &mut 0).unwrap().unwrap();
            assert_eq!(head.keep_alive, wanted, "{text}");
        }
    }
}
