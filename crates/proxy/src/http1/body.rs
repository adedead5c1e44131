//! Reads the body of an HTTP/1 request as a stream: bytes by length, or chunks and their trailers.
//!
//! [`Decoder`] is pure: bytes in, frames out. [`channel`] joins the connection, which feeds it, with the service,
//! which pulls: one frame is under way at most, so a slow upstream slows the agent and memory stays bounded.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, mpsc};

use super::head::{Framing, is_token};
use crate::{limits, message::BodyError};

/// Why a body cannot be read any further. Nothing of it is completed upstream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FramingError {
    /// A chunk's size line is not hexadecimal digits and a CRLF.
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// A trailer is malformed, forbidden, or they are too many.
    #[error("a trailer of the body is malformed")]
    Trailer,
}

/// What a decoder makes of the bytes it was given.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// The trailers; the body has ended.
    Trailers(HeaderMap),
    /// The body has ended without trailers.
    End,
    /// More bytes are needed.
    More,
}

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(HeaderMap, usize),
    Done,
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// An agent: one spelling only.
    Agent,
    /// A server: extensions of chunks carry nothing and are passed over, and trailers that must not come are dropped.
    Server,
}

/// Takes a body off a byte stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    sender: Sender,
}

impl Decoder {
    /// A decoder for an agent's body of this framing.
    pub(crate) const fn new(framing: Framing) -> Self {
        Self::of(framing, Sender::Agent)
    }

    /// A decoder for a server's.
    pub(crate) const fn of_response(framing: Framing) -> Self {
        Self::of(framing, Sender::Server)
    }

    const fn of(framing: Framing, sender: Sender) -> Self {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
        };
        Self { state, sender }
    }

    /// Whether the whole body was read.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Length(0))
    }

    /// Takes the next piece off the front of `buffer`.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, FramingError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Decoded::End),
                State::Length(0) => self.state = State::Done,
                State::Length(left) => return Ok(take_data(buffer, left)),
                State::ChunkData(0) => self.state = State::ChunkEnd,
                State::ChunkData(left) => return Ok(take_data(buffer, left)),
                State::ChunkSize => match take_line(buffer, limits::CHUNK_LINE).ok_or(FramingError::Chunk)? {
                    None => return Ok(Decoded::More),
                    Some(line) => match chunk_size(&line, self.sender).ok_or(FramingError::Chunk)? {
                        0 => self.state = State::Trailers(HeaderMap::new(), 0),
                        size => self.state = State::ChunkData(size),
                    },
                },
                State::ChunkEnd => match buffer.get(..2) {
                    None if b"\r\n".starts_with(buffer) => return Ok(Decoded::More),
                    Some(b"\r\n") => {
                        let _ = buffer.split_to(2);
                        self.state = State::ChunkSize;
                    }
                    None | Some(_) => return Err(FramingError::Chunk),
                },
                State::Trailers(trailers, length) => {
                    let Some(line) = take_line(buffer, limits::CHUNK_LINE).ok_or(FramingError::Trailer)?
                    else {
                        return Ok(Decoded::More);
                    };
                    *length += line.len();
                    if !line.is_empty() {
                        add_trailer(trailers, &line, *length, self.sender)?;
                        continue;
                    }
                    let trailers = std::mem::take(trailers);
                    self.state = State::Done;
                    return Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) });
                }
            }
        }
    }
}

fn take_data(buffer: &mut BytesMut, left: &mut u64) -> Decoded {
    if buffer.is_empty() {
        return Decoded::More;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= length as u64;
    Decoded::Data(buffer.split_to(length).freeze())
}

/// One line without its CRLF. `Some(None)`: not whole yet; `None`: too long, or it ends with a bare line feed.
#[expect(clippy::option_option, reason = "malformed, incomplete and whole are three things")]
fn take_line(buffer: &mut BytesMut, limit: usize) -> Option<Option<Bytes>> {
    match buffer.iter().take(limit).position(|byte| *byte == b'\n') {
        None if buffer.len() >= limit => None,
        None => Some(None),
        Some(end) => {
            let line = buffer.split_to(end + 1).freeze();
            let line = line.strip_suffix(b"\r\n").map(|text| line.slice_ref(text))?;
            if line.contains(&b'\r') || line.contains(&0) { None } else { Some(Some(line)) }
        }
    }
}

/// Digits and nothing else. Extensions carry no meaning for us and hide requests from others: refused of an agent.
fn chunk_size(line: &[u8], sender: Sender) -> Option<u64> {
    let line = match sender {
        Sender::Agent => line,
        Sender::Server => line.split(|byte| *byte == b';').next()?.trim_ascii_end(),
    };
    if line.is_empty() || line.len() > 15 || !line.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok()
}

/// Appends a chunk's size, in hexadecimal.
pub(crate) fn put_hex(out: &mut BytesMut, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = u32::try_from((number >> (place * 4)) & 0xf).unwrap_or(0);
        out.put_u8(char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8));
    }
}

fn add_trailer(
    trailers: &mut HeaderMap,
    line: &Bytes,
    length: usize,
    sender: Sender,
) -> Result<(), FramingError> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(FramingError::Trailer)?;
    let (name, value) = (line.slice(..colon), line.slice(colon + 1..));
    let value = line.slice_ref(value.trim_ascii());
    let fits = length <= limits::TRAILERS && trailers.len() < limits::HEADERS;
    if !fits || name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(FramingError::Trailer);
    }
    let name = HeaderName::from_bytes(&name).map_err(|_| FramingError::Trailer)?;
    match (forbidden_trailer(&name), sender) {
        (false, _) => {}
        (true, Sender::Agent) => return Err(FramingError::Trailer),
        (true, Sender::Server) => return Ok(()),
    }
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| FramingError::Trailer)?;
    trailers.append(name, value);
    Ok(())
}

/// Fields that frame, route or authorise a message must not come after it was judged.
fn forbidden_trailer(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 9] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::HOST,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
    ];
    NAMES.contains(name) || crate::headers::carries_credential(name)
}

/// What a connection hands to the service: a frame, the end (`None`), or why there is neither.
pub(crate) type Piece = Result<Option<Frame<Bytes>>, BodyError>;

/// The service's end of a body.
#[derive(Debug)]
pub(crate) struct ChannelBody {
    pieces: mpsc::Receiver<Piece>,
    left: Option<u64>,
    ended: bool,
    wanted: Option<Arc<Notify>>,
}

/// The connection's end of a body.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Takes the bytes apart.
    pub(crate) decoder: Decoder,
    /// Where the pieces go. Dropped before the end was sent, it fails the body: never a shorter one.
    pub(crate) pieces: mpsc::Sender<Piece>,
}

/// Both ends of a body of this framing, and the bell that rings when the service first pulls.
pub(crate) fn channel(framing: Framing) -> (ChannelBody, Feed, Arc<Notify>) {
    let (sender, pieces) = mpsc::channel(1);
    let wanted = Arc::new(Notify::new());
    let left = match framing {
        Framing::Empty => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
    };
    let body = ChannelBody { pieces, left, ended: left == Some(0), wanted: Some(wanted.clone()) };
    (body, Feed { decoder: Decoder::new(framing), pieces: sender }, wanted)
}

impl ChannelBody {
    /// See [`http_body::Body::poll_frame`].
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(wanted) = self.wanted.take() {
            wanted.notify_one();
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(Pin::new(&mut self.pieces).poll_recv(cx));
        self.ended = !matches!(&piece, Some(Ok(Some(frame))) if frame.is_data());
        Poll::Ready(match piece {
            Some(Ok(Some(frame))) => {
                if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
                    *left = left.saturating_sub(data.len() as u64);
                    self.ended = *left == 0;
                }
                Some(Ok(frame))
            }
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(BodyError::Disconnected)),
        })
    }

    /// Whether nothing is to come.
    pub(crate) const fn is_end(&self) -> bool {
        self.ended
    }

    /// See [`http_body::Body::size_hint`].
    pub(crate) fn size(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and the trailers of these bytes, given so many at a time.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, HeaderMap, usize), FramingError> {
        let (mut decoder, mut buffer) = (Decoder::new(framing), BytesMut::new());
        let (mut body, mut trailers, mut given) = (Vec::new(), HeaderMap::new(), 0);
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::Trailers(read) => trailers = read,
                Decoded::End => break,
                Decoded::More => {
                    assert!(given < bytes.len(), "more than there is");
                    let end = bytes.len().min(given + step);
                    buffer.extend_from_slice(&bytes[given..end]);
                    given = end;
                }
            }
            if decoder.is_done() {
                break;
            }
        }
        Ok((body, trailers, buffer.len() + bytes.len() - given))
    }

    #[test]
    fn bodies_in_any_pieces() {
        let chunked = b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-sum: 7 \r\n\r\nGET /";
        for step in 1..chunked.len() {
            let (body, trailers, left) = decode(Framing::Chunked, chunked, step).unwrap();
            assert_eq!(
                (&body[..], &trailers["x-sum"], left),
                (&b"abc0123456789"[..], &HeaderValue::from_static("7"), 5)
            );
            let (body, _, left) = decode(Framing::Length(3), b"abcGET /", step).unwrap();
            assert_eq!((&body[..], left), (&b"abc"[..], 5));
        }
    }

    #[test]
    fn one_spelling_only() {
        for bytes in [
            "3\nabc\n0\n\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "3;x\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "\r\n",
            "g\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "0\r\nhost: x\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\ncookie: x\r\n\r\n",
            "1000000000000000\r\n",
        ] {
            assert!(decode(Framing::Chunked, bytes.as_bytes(), bytes.len()).is_err(), "{bytes:?}");
        }
        let long = format!("{}\r\n", "0".repeat(limits::CHUNK_LINE));
        assert!(decode(Framing::Chunked, long.as_bytes(), long.len()).is_err());
    }

    #[tokio::test]
    async fn a_feed_that_ends_early_fails_the_body() {
        for framing in [Framing::Length(5), Framing::Chunked] {
            let (mut body, feed, _) = channel(framing);
            feed.pieces.send(Ok(Some(Frame::data("abc".into())))).await.unwrap();
            drop(feed);
            assert!(std::future::poll_fn(|cx| body.poll_next(cx)).await.unwrap().is_ok());
            assert!(std::future::poll_fn(|cx| body.poll_next(cx)).await.unwrap().is_err());
        }
    }
}
