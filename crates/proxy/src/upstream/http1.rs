//! An exchange on an HTTP/1 connection to a server, driven by whoever waits for its answer.
//!
//! No task of its own and no channel: what wakes is the request's own task. The request's body is sent while the
//! response is read, by every poll of either, so that both sides may stream. A connection whose exchange did not end
//! in good order, the request's body included, serves no other.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::{forward::SentBody, wire::Connection};
use crate::{
    http1::{
        body::{Decoded, Decoder, FramingError, put_hex},
        head::Framing,
        response::{ResponseError, ResponseFraming, ResponseHead, take_response_head},
    },
    limits,
    memory::{LARGE_HEADS, Place},
    message::BodyError,
};

/// How much is read at first of a body, and kept as room for the next.
const SMALL: usize = 8 << 10;

/// Why an exchange ended without a whole response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http1Error {
    /// The server closed the connection before it had answered.
    #[error("it closed the connection")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it sent is no response.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// What it sent as a body is none.
    #[error("its body is malformed")]
    Framing(#[from] FramingError),
    /// Its head is large, and there is no place for one more.
    #[error(
        "the head of its response is over {} bytes, and {} such heads are held already",
        limits::SMALL_HEAD,
        limits::LARGE_HEADS
    )]
    Crowded,
    /// The request's body ended early: the request is given up.
    #[error(transparent)]
    Request(Box<BodyError>),
}

/// What is written of a request.
pub(crate) struct RequestHead<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a [u8],
    /// The value of `Host`.
    pub(crate) authority: &'a str,
    /// All other fields; none that frames.
    pub(crate) headers: &'a HeaderMap,
    /// The agent takes trailers.
    pub(crate) trailers: bool,
}

/// A connection that waits for a request.
pub(crate) struct Idle {
    io: Box<Connection>,
    input: BytesMut,
    output: BytesMut,
    /// Why reading failed, told once what was read before has been taken.
    failed: Option<io::Error>,
}

impl Idle {
    /// A new connection.
    pub(crate) fn new(io: Connection) -> Self {
        Self { io: Box::new(io), input: BytesMut::new(), output: BytesMut::new(), failed: None }
    }

    /// Whether the server keeps it, and has said nothing unasked.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut *self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Begins an exchange. Nothing is sent before the first poll.
    pub(crate) fn send(mut self, head: &RequestHead<'_>, body: SentBody) -> Exchange {
        let coding = Coding::of(&body, head.method);
        put_head(&mut self.output, head, coding);
        let upload = match coding {
            Coding::None => Upload::Done,
            Coding::Length(_) | Coding::Chunked => Upload::Body(body, coding),
        };
        let to_head = *head.method == Method::HEAD;
        Exchange { connection: self, upload, to_head, scanned: 0, touched: false, place: None }
    }
}

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    None,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
}

impl Coding {
    fn of(body: &SentBody, method: &Method) -> Self {
        match body.size_hint().exact() {
            // An empty body is worth a `Content-Length: 0` with these.
            Some(0) if !super::forward::takes_body(method) => Self::None,
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }
}

enum Upload {
    Body(SentBody, Coding),
    Done,
    /// The server does not take it any more. It may have answered why.
    Failed(io::Error, Option<Box<SentBody>>),
}

/// A request on its way, and the response to it.
pub(crate) struct Exchange {
    connection: Idle,
    upload: Upload,
    to_head: bool,
    scanned: usize,
    /// Something was read or pulled: the request cannot be given back.
    touched: bool,
    /// Held while a large head is.
    place: Option<Place>,
}

impl Exchange {
    /// The head of the response.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Http1Error>> {
        loop {
            // Its end is waited for by nobody.
            let _sent = self.poll_upload(cx)?;
            while let Some(head) =
                take_response_head(&mut self.connection.input, &mut self.scanned, self.to_head)?
            {
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
            }
            if self.place.is_none() && self.connection.input.len() > limits::SMALL_HEAD {
                self.place = Some(LARGE_HEADS.try_place().ok_or(Http1Error::Crowded)?);
            }
            if std::task::ready!(self.poll_fill(cx, 4 << 10))? == 0 {
                return Poll::Ready(Err(self.ended()));
            }
        }
    }

    fn ended(&mut self) -> Http1Error {
        match std::mem::replace(&mut self.upload, Upload::Done) {
            Upload::Failed(error, _) => Http1Error::Io(error),
            Upload::Body(..) | Upload::Done => Http1Error::Closed,
        }
    }

    /// The body, where it was not begun and nothing came back: the request may go out on another connection.
    pub(crate) fn unsent(self) -> Option<SentBody> {
        match self.upload {
            Upload::Body(body, _) if !self.touched => Some(body),
            Upload::Body(..) | Upload::Done | Upload::Failed(..) => None,
        }
    }

    /// Sends what there is of the request. Ready when all of it is on its way.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        loop {
            if let Err(error) = std::task::ready!(self.poll_write(cx)) {
                let rest = match std::mem::replace(&mut self.upload, Upload::Done) {
                    Upload::Body(body, _) => Some(Box::new(body)),
                    Upload::Done | Upload::Failed(..) => None,
                };
                self.upload = Upload::Failed(error, rest);
                self.connection.output.clear();
                return Poll::Ready(Ok(()));
            }
            let Upload::Body(body, coding) = &mut self.upload else { return Poll::Ready(Ok(())) };
            let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
            self.touched = true;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => put_data(&mut self.connection.output, &data, coding)?,
                Some(Ok(Err(trailers))) => {
                    let trailers = trailers.into_trailers().unwrap_or_default();
                    put_end(&mut self.connection.output, *coding, &trailers)?;
                    self.upload = Upload::Done;
                }
                None => {
                    put_end(&mut self.connection.output, *coding, &HeaderMap::new())?;
                    self.upload = Upload::Done;
                }
                Some(Err(error)) => return Poll::Ready(Err(Http1Error::Request(Box::new(error)))),
            }
            if matches!(&self.upload, Upload::Body(_, Coding::Length(0))) {
                self.upload = Upload::Done;
            }
        }
    }

    /// Writes what is waiting to be written. Nothing waits when it is ready.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Idle { io, output, .. } = &mut self.connection;
        if matches!(self.upload, Upload::Failed(..)) {
            return Poll::Ready(Ok(()));
        }
        while output.has_remaining() {
            if std::task::ready!(poll_write_buf(Pin::new(&mut **io), cx, output))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut **io).poll_flush(cx)
    }

    /// Reads what is there, up to about `room` bytes, but at least one; none at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<usize, Http1Error>> {
        let Idle { io, input, failed, .. } = &mut self.connection;
        if let Some(error) = failed.take() {
            return Poll::Ready(Err(Http1Error::Io(error)));
        }
        input.reserve(room);
        let before = input.len();
        loop {
            let polled = poll_read_buf(Pin::new(&mut **io), cx, input);
            let read = input.len() - before;
            match polled {
                Poll::Pending if read == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) if read == 0 => return Poll::Ready(Err(Http1Error::Io(error))),
                // A record of TLS is a quarter of what one write can take: more of them, while there are any.
                Poll::Ready(Ok(1..)) if read < room && room > SMALL => continue,
                Poll::Ready(Err(error)) => *failed = Some(error),
                Poll::Pending | Poll::Ready(Ok(_)) => {}
            }
            self.touched |= read > 0;
            return Poll::Ready(Ok(read));
        }
    }

    /// The response's body, of a head that was read.
    pub(crate) fn into_body(self, head: &ResponseHead) -> ResponseBody {
        let framing = match head.framing {
            ResponseFraming::Empty => Some(Framing::Empty),
            ResponseFraming::Length(length) => Some(Framing::Length(length)),
            ResponseFraming::Chunked => Some(Framing::Chunked),
            ResponseFraming::UntilClose => None,
        };
        let left = match head.framing {
            ResponseFraming::Empty => Some(0),
            ResponseFraming::Length(length) => Some(length),
            ResponseFraming::Chunked | ResponseFraming::UntilClose => None,
        };
        ResponseBody {
            decoder: framing.map(Decoder::of_response),
            left,
            ended: left == Some(0),
            keep_alive: head.keep_alive,
            room: SMALL,
            exchange: self,
        }
    }
}

/// The body of a response, and the rest of its request.
pub(crate) struct ResponseBody {
    /// None where the body ends with the connection.
    decoder: Option<Decoder>,
    left: Option<u64>,
    ended: bool,
    keep_alive: bool,
    room: usize,
    exchange: Exchange,
}

impl ResponseBody {
    /// The connection, for another request; else, where this exchange did not end in good order, the rest of the
    /// request's body. Whoever is still sending that must not see it dropped before the response has ended: HTTP/2
    /// would reset the stream, and take back what of the response is not written yet.
    pub(crate) fn into_idle(self) -> Result<Idle, Option<Box<SentBody>>> {
        let Exchange { connection, upload, .. } = self.exchange;
        let sent = match upload {
            Upload::Body(body, _) => return Err(Some(Box::new(body))),
            Upload::Failed(_, rest) => return Err(rest),
            Upload::Done => connection.output.is_empty(),
        };
        let Idle { io, input, output, failed } = connection;
        if !(self.keep_alive && self.ended && sent && input.is_empty() && failed.is_none()) {
            return Err(None);
        }
        // What it grew to for one body is not kept for the next.
        let small = |buffer: BytesMut| if buffer.capacity() > SMALL { BytesMut::new() } else { buffer };
        Ok(Idle { io, input: small(input), output: small(output), failed })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Its end is waited for by nobody.
        let _sent = self.exchange.poll_upload(cx)?;
        loop {
            let input = &mut self.exchange.connection.input;
            let decoded = match &mut self.decoder {
                Some(decoder) => decoder.decode(input)?,
                None if input.is_empty() => Decoded::More,
                None => Decoded::Data(input.split().freeze()),
            };
            match decoded {
                Decoded::Data(data) => {
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    self.ended = self.decoder.as_ref().is_some_and(Decoder::is_done);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Decoded::Trailers(trailers) => {
                    self.ended = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Decoded::End => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Decoded::More => {}
            }
            let read = std::task::ready!(self.exchange.poll_fill(cx, self.room))?;
            if read == 0 {
                self.ended = true;
                return Poll::Ready(self.decoder.is_some().then_some(Err(Http1Error::Closed)));
            }
            // A body that fills what it is given gets more.
            if read >= self.room {
                self.room = (self.room * 2).min(limits::READ_CHUNK);
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll_next(cx).map_err(|error| match error {
            Http1Error::Request(error) => *error,
            error => BodyError::Upstream(error),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn put_head(out: &mut BytesMut, head: &RequestHead<'_>, coding: Coding) {
    out.reserve(1 << 10);
    for part in [head.method.as_str().as_bytes(), b" ", head.target, b" HTTP/1.1\r\nhost: "] {
        out.put_slice(part);
    }
    out.put_slice(head.authority.as_bytes());
    out.put_slice(b"\r\n");
    let mut cookies = false;
    for (name, value) in head.headers {
        if frames(name) {
            continue;
        }
        if *name != header::COOKIE {
            put_field(out, name.as_str(), value.as_bytes());
        } else if !std::mem::replace(&mut cookies, true) {
            put_cookies(out, head.headers);
        }
    }
    match coding {
        Coding::None => {}
        Coding::Length(length) => put_field(out, "content-length", length.to_string().as_bytes()),
        Coding::Chunked => put_field(out, "transfer-encoding", b"chunked"),
    }
    if head.trailers {
        out.put_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    out.put_slice(b"\r\n");
}

/// What is written by us alone, whatever the fields say.
fn frames(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name)
}

/// HTTP/2 may split cookies over fields, HTTP/1 may not.
fn put_cookies(out: &mut BytesMut, headers: &HeaderMap) {
    out.put_slice(b"cookie: ");
    for (at, cookie) in headers.get_all(header::COOKIE).iter().enumerate() {
        if at > 0 {
            out.put_slice(b"; ");
        }
        out.put_slice(cookie.as_bytes());
    }
    out.put_slice(b"\r\n");
}

fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// A body that is not as long as was said is not sent on: the server would take what follows for its rest.
fn put_data(out: &mut BytesMut, data: &[u8], coding: &mut Coding) -> Result<(), Http1Error> {
    match coding {
        Coding::None => Err(wrong_length()),
        Coding::Length(left) => {
            *left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
            out.put_slice(data);
            Ok(())
        }
        Coding::Chunked if data.is_empty() => Ok(()),
        Coding::Chunked => {
            put_hex(out, data.len());
            for part in [b"\r\n", data, b"\r\n"] {
                out.put_slice(part);
            }
            Ok(())
        }
    }
}

fn put_end(out: &mut BytesMut, coding: Coding, trailers: &HeaderMap) -> Result<(), Http1Error> {
    match coding {
        Coding::None | Coding::Length(0) => Ok(()),
        Coding::Length(_) => Err(wrong_length()),
        Coding::Chunked => {
            out.put_slice(b"0\r\n");
            for (name, value) in trailers {
                put_field(out, name.as_str(), value.as_bytes());
            }
            out.put_slice(b"\r\n");
            Ok(())
        }
    }
}

fn wrong_length() -> Http1Error {
    Http1Error::Request(Box::new(BodyError::Disconnected))
}
