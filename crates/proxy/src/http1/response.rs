//! Reads the head of an HTTP/1 response, and refuses every framing that could be read differently by the agent.
//!
//! A server is less suspect than an agent, and older: what is merely unusual passes, what is ambiguous does not.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};

use super::head::{Version, digits, end_of_head, header_map, keep_alive};
use crate::limits;

/// How the body after a response's head is framed (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseFraming {
    /// None at all.
    Empty,
    /// So many bytes, more than none.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All that comes until the connection ends.
    UntilClose,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    /// The status.
    pub(crate) status: StatusCode,
    /// All fields.
    pub(crate) headers: HeaderMap,
    /// How the body is framed.
    pub(crate) framing: ResponseFraming,
    /// Whether the connection may be used again.
    pub(crate) keep_alive: bool,
}

/// Why a response is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseError {
    /// Its head is none.
    #[error("the head of its response is malformed")]
    Malformed,
    /// Longer than [`limits::HEAD`] or more than [`limits::HEADERS`] fields.
    #[error("the head of its response is too large")]
    TooLarge,
    /// The body's length cannot be told for certain.
    #[error("the framing of its response is ambiguous")]
    Framing,
}

/// Takes one head off the front of `buffer`; none where more bytes are needed. `scanned` as in
/// [`take_head`](super::head::take_head); `to_head`: the request was a HEAD.
pub(crate) fn take_response_head(
    buffer: &mut BytesMut,
    scanned: &mut usize,
    to_head: bool,
) -> Result<Option<ResponseHead>, ResponseError> {
    // Also of a whole head: what stands before it in one piece would be refused in many.
    if !b"HTTP/1.".iter().zip(buffer.iter()).all(|(wanted, is)| wanted == is) {
        return Err(ResponseError::Malformed);
    }
    let Some(end) = end_of_head(buffer, scanned.saturating_sub(3)) else {
        *scanned = buffer.len();
        return if buffer.len() > limits::HEAD { Err(ResponseError::TooLarge) } else { Ok(None) };
    };
    *scanned = 0;
    if end > limits::HEAD {
        return Err(ResponseError::TooLarge);
    }
    let raw = buffer.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::uninit() }; limits::HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut response, &raw, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == raw.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
        Ok(_) | Err(_) => return Err(ResponseError::Malformed),
    }
    let version = if response.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(ResponseError::Malformed)?;
    let headers = header_map(&raw, response.headers).ok_or(ResponseError::Malformed)?;
    let framing = framing(status, &headers, to_head)?;
    // Both, or chunks from a server that knows none: read as chunks, and nothing after them (RFC 9112, 6.1).
    let odd = headers.contains_key(header::TRANSFER_ENCODING)
        && (version == Version::Http10 || headers.contains_key(header::CONTENT_LENGTH));
    let keep_alive = keep_alive(version, &headers) && framing != ResponseFraming::UntilClose && !odd;
    Ok(Some(ResponseHead { status, headers, framing, keep_alive }))
}

fn framing(status: StatusCode, headers: &HeaderMap, to_head: bool) -> Result<ResponseFraming, ResponseError> {
    let bodiless = to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Ok(ResponseFraming::Empty);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        // No other coding was asked for.
        return match (chunked, codings.next()) {
            (true, None) => Ok(ResponseFraming::Chunked),
            (true | false, _) => Err(ResponseError::Framing),
        };
    }
    let mut length = None;
    let told = headers.get_all(header::CONTENT_LENGTH).iter();
    for told in told.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let told = digits(told.trim_ascii()).ok_or(ResponseError::Framing)?;
        if length.is_some_and(|length| length != told) {
            return Err(ResponseError::Framing);
        }
        length = Some(told);
    }
    Ok(match length {
        Some(0) => ResponseFraming::Empty,
        Some(length) => ResponseFraming::Length(length),
        None => ResponseFraming::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ResponseHead, ResponseError> {
        take_response_head(&mut BytesMut::from(text), &mut 0, false).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn a_head_in_pieces_is_taken_at_its_end() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let (mut buffer, mut scanned) = (BytesMut::new(), 0);
        for (at, byte) in text.iter().enumerate() {
            buffer.extend_from_slice(&[*byte]);
            if let Some(head) = take_response_head(&mut buffer, &mut scanned, false).unwrap() {
                assert_eq!(at + 1, text.len() - 3);
                assert_eq!((head.status, head.framing), (StatusCode::OK, ResponseFraming::Length(3)));
                assert!(head.keep_alive && buffer.is_empty());
                return;
            }
        }
        panic!("no head");
    }

    /// Found by fuzzing.
    #[test]
    fn nothing_stands_before_the_status_line() {
        let text = "\nHTTP/1.0 200 OK\n\n";
        let read = take_response_head(&mut BytesMut::from(text), &mut 0, false);
        assert!(matches!(read, Err(ResponseError::Malformed)));
    }

    #[test]
    fn one_framing_only() {
        use ResponseFraming::{Chunked, Empty, Length, UntilClose};
        for (head, framing, keep_alive) in [
            ("HTTP/1.1 200 OK\r\n\r\n", UntilClose, false),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", Empty, true),
            ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", Empty, true),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Empty, true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n\r\n", Length(5), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", Chunked, true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", Chunked, false),
            ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Chunked, false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", Length(5), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n", Length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n", Length(5), false),
        ] {
            let read = read(head).unwrap();
            assert_eq!((read.framing, read.keep_alive), (framing, keep_alive), "{head:?}");
        }
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(read(head).unwrap_err(), ResponseError::Framing, "{head:?}");
        }
        for head in
            ["SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 200 OK\r\na\r\n\r\n"]
        {
            assert_eq!(read(head).unwrap_err(), ResponseError::Malformed, "{head:?}");
        }
    }
}
