//! Serves one HTTP/1 connection of the agent: requests one after the other, each answered before the next is read.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    sync::Notify,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{
    body::{Decoded, Feed, channel},
    head::{Framing, Head, HeadError, Version, take_head},
    writer::{Reply, WriteError, write_response, write_switching},
};
use crate::{
    accept::{Downstream, Refused, Target},
    limits,
    memory::{LARGE_HEADS, Place},
    message::{Aborted, BodyError, Request, RequestBody, Response, ResponseBody},
    refuse,
    service::Handler,
    websocket::{self, Ask, End, Relay},
};

/// How a connection goes on after an exchange.
enum Next {
    /// The next request may come.
    Request,
    /// It is closed in good order.
    Close,
    /// It is reset: what was sent is not the whole.
    Abort,
    /// It is a WebSocket from now on.
    WebSocket(Box<Relay>),
    /// It is a connection to another host from now on.
    Tunnel(Target),
}

/// A connection that the agent asked to be one to another host.
pub(crate) struct Tunnel<IO> {
    /// The stream.
    pub(crate) stream: IO,
    /// What was read of it already.
    pub(crate) begun: BytesMut,
    /// The host.
    pub(crate) target: Target,
}

/// Serves `io` until it ends, or is to be something else. `begun` is what was read of it already.
pub(crate) async fn serve<IO: Downstream>(
    io: IO,
    begun: BytesMut,
    handler: Arc<impl Handler>,
) -> Option<Tunnel<IO>> {
    let (reader, writer) = tokio::io::split(io);
    let patience = Box::pin(sleep(limits::FIRST_BYTES));
    let (input, output) = (begun, BytesMut::new());
    let mut connection = Connection { reader, writer, input, output, place: None, patience };
    let mut first = true;
    let next = loop {
        let wait = if first { limits::FIRST_BYTES } else { limits::IDLE };
        first = false;
        let next = match connection.read_head(wait).await {
            // On the heap for as long as they run: an idle connection is not as large as a busy one.
            Ok(Some(head)) => Box::pin(connection.exchange(head, &*handler)).await,
            Ok(None) => Next::Close,
            Err(error) => Box::pin(connection.refuse_head(error, &*handler)).await,
        };
        match next {
            Next::Request => connection.shrink(),
            Next::Close | Next::Abort | Next::WebSocket(_) | Next::Tunnel(_) => break next,
        }
    };
    Box::pin(connection.end(next)).await
}

struct Connection<IO> {
    reader: ReadHalf<IO>,
    writer: WriteHalf<IO>,
    input: BytesMut,
    output: BytesMut,
    /// Held while a large head is.
    place: Option<Place>,
    /// Until when a head is waited for. One timer for all of them: to put one off is nothing, to set a new one wakes the
    /// thread that sets it.
    patience: Pin<Box<Sleep>>,
}

impl<IO: Downstream> Connection<IO> {
    /// The next head; none where the agent ended the connection, or is too slow.
    async fn read_head(&mut self, idle: Duration) -> Result<Option<Head>, HeadError> {
        let mut scanned = 0;
        let mut begun = false;
        self.patience.as_mut().reset(Instant::now() + idle);
        loop {
            if let Some(head) = take_head(&mut self.input, &mut scanned)? {
                return Ok(Some(head));
            }
            // The idle time is for the first byte; a head that has begun gets its own.
            if !begun && !self.input.is_empty() {
                begun = true;
                self.patience.as_mut().reset(Instant::now() + limits::FIRST_BYTES);
            }
            if self.place.is_none() && self.input.len() > limits::SMALL_HEAD {
                match until(self.patience.as_mut(), LARGE_HEADS.place()).await {
                    Some(place) => self.place = Some(place),
                    None => return Err(HeadError::TooSlow),
                }
            }
            match until(self.patience.as_mut(), read_some(&mut self.reader, &mut self.input)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => return Ok(None),
                None if begun => return Err(HeadError::TooSlow),
                None => return Ok(None),
            }
        }
    }

    /// Answers a head that is no request, and closes.
    async fn refuse_head(&mut self, error: HeadError, handler: &impl Handler) -> Next {
        let unread = |why, status| {
            handler.not_read(why);
            (refuse::plain(status, &error.to_string()), false)
        };
        let (response, head) = match error {
            HeadError::Unreadable(_) => unread(Refused::Malformed, StatusCode::BAD_REQUEST),
            HeadError::TooLarge => unread(Refused::TooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            HeadError::TooSlow => unread(Refused::TooSlow, StatusCode::REQUEST_TIMEOUT),
            HeadError::Ambiguous { line, why } => {
                let (method, target) = *line;
                let head = method == Method::HEAD;
                let request = ambiguous(method, target, why);
                match handler.call(request).await {
                    Ok(response) => (response, head),
                    Err(Aborted) => return Next::Abort,
                }
            }
        };
        let reply = Reply { head, version: Version::Http11, keep_alive: false };
        match write_response(&mut self.writer, response, reply, &mut self.output).await {
            Ok(_) => Next::Close,
            Err(_) => Next::Abort,
        }
    }

    /// One request and its response; the body is read while the response is made and written.
    async fn exchange(&mut self, head: Head, handler: &impl Handler) -> Next {
        let reply = Reply::to(&head.method, head.version, head.keep_alive);
        let expects = head.expect_continue && head.framing != Framing::Empty;
        let (body, feed, wanted) = match head.framing {
            Framing::Empty => (RequestBody::Empty, None, None),
            Framing::Length(_) | Framing::Chunked => {
                let (body, feed, wanted) = channel(head.framing);
                (RequestBody::Http1(body), Some(feed), expects.then_some(wanted))
            }
        };
        let (websocket, ambiguity) = match Ask::of(&head) {
            Ok(websocket) => (websocket, None),
            Err(why) => (None, Some(why)),
        };
        let request = Box::new(Request {
            method: head.method,
            target: head.target,
            authority: None,
            headers: head.headers,
            ambiguity,
            websocket,
            body,
        });
        let Self { reader, writer, input, output, place: _, patience: _ } = self;
        let mut upload = Upload { reader, input, feed, complete: false };
        let begun = AtomicBool::new(false);
        let answered = {
            // Pinned where they are made: a request's future is large, and a move copies all of it.
            let call = pin!(handler.call(request));
            let mut answer = pin!(answer(writer, output, call, reply, wanted, &begun));
            tokio::select! {
                biased;
                answered = &mut answer => answered,
                ended = upload.run() => match ended {
                    // The agent is gone, or its body is broken: the request upstream is dropped with `answer`.
                    Ended::Gone => return Next::Abort,
                    Ended::Malformed => {
                        handler.not_read(Refused::Malformed);
                        Answered::Malformed
                    }
                },
            }
        };
        match answered {
            Answered::Written { keep_alive, continued } => {
                let asked_to_send = !expects || continued;
                if keep_alive && asked_to_send && upload.finish().await { Next::Request } else { Next::Close }
            }
            Answered::Malformed if !begun.load(Relaxed) => {
                let response = refuse::plain(StatusCode::BAD_REQUEST, "the body of the request is malformed");
                let reply = Reply { keep_alive: false, ..reply };
                match write_response(writer, response, reply, output).await {
                    Ok(_) => Next::Close,
                    Err(_) => Next::Abort,
                }
            }
            Answered::Malformed | Answered::Aborted => Next::Abort,
            Answered::Switched(relay) => Next::WebSocket(relay),
            Answered::Connected(target) => Next::Tunnel(target),
        }
    }

    /// Gives memory back between requests: an idle connection holds no buffer.
    fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output = BytesMut::new();
        self.place = None;
    }

    async fn end(mut self, next: Next) -> Option<Tunnel<IO>> {
        match next {
            Next::Tunnel(target) => {
                let stream = self.reader.unsplit(self.writer);
                return Some(Tunnel { stream, begun: self.input, target });
            }
            Next::Abort => {
                self.reader.unsplit(self.writer).abort();
                return None;
            }
            Next::WebSocket(relay) => {
                // Its head is gone; what follows may take days.
                self.place = None;
                let stream = self.reader.unsplit(self.writer);
                let (stream, end) = Box::pin(relay.run(stream, std::mem::take(&mut self.input))).await;
                if end == End::Aborted {
                    stream.abort();
                    return None;
                }
                (self.reader, self.writer) = tokio::io::split(stream);
            }
            Next::Request | Next::Close => {}
        }
        // Whoever still sends must be able to read the answer: a close with unread input would be a reset.
        let _ = timeout(limits::FIRST_BYTES, self.writer.shutdown()).await;
        let _ = timeout(Duration::from_secs(2), discard(&mut self.reader, limits::DISCARD)).await;
        None
    }
}

/// How the answering side of an exchange ended.
enum Answered {
    Written { keep_alive: bool, continued: bool },
    Switched(Box<Relay>),
    Connected(Target),
    Malformed,
    Aborted,
}

async fn answer<W: AsyncWrite + Unpin>(
    writer: &mut W,
    output: &mut BytesMut,
    mut call: Pin<&mut impl Future<Output = Result<Response, Aborted>>>,
    reply: Reply,
    wanted: Option<Arc<Notify>>,
    begun: &AtomicBool,
) -> Answered {
    output.clear();
    let mut continued = false;
    let response = if let Some(wanted) = wanted {
        tokio::select! {
            biased;
            response = &mut call => response,
            () = wanted.notified() => {
                continued = true;
                if writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() || writer.flush().await.is_err() {
                    return Answered::Aborted;
                }
                call.await
            }
        }
    } else {
        call.await
    };
    let Ok(mut response) = response else { return Answered::Aborted };
    begun.store(true, Relaxed);
    if let ResponseBody::Connected(target) = response.body() {
        let target = target.clone();
        drop(response);
        let head = b"HTTP/1.1 200 Connection established\r\n\r\n";
        return match writer.write_all(head).await.and(writer.flush().await) {
            Ok(()) => Answered::Connected(target),
            Err(_) => Answered::Aborted,
        };
    }
    if let Some(relay) = websocket::switched(&mut response) {
        let (head, _) = response.into_parts();
        return match write_switching(writer, head.status, &head.headers, output).await {
            Ok(()) => Answered::Switched(relay),
            Err(_) => Answered::Aborted,
        };
    }
    match write_response(writer, response, reply, output).await {
        Ok(keep_alive) => Answered::Written { keep_alive, continued },
        Err(WriteError::Body(_) | WriteError::Downstream(_)) => Answered::Aborted,
    }
}

/// Why the reading side of an exchange ended before the answering side.
enum Ended {
    Gone,
    Malformed,
}

/// The reading side of an exchange: feeds the body, then watches for the agent to leave.
struct Upload<'a, IO> {
    reader: &'a mut ReadHalf<IO>,
    input: &'a mut BytesMut,
    feed: Option<Feed>,
    complete: bool,
}

impl<IO: AsyncRead + Unpin> Upload<'_, IO> {
    /// Runs until the agent is gone or its body is broken.
    async fn run(&mut self) -> Ended {
        if let Err(ended) = self.feed_all().await {
            return ended;
        }
        // A pipelined request may wait in the buffer; beyond a small head's size the agent waits for us.
        while self.input.len() < limits::SMALL_HEAD {
            match read_some(self.reader, self.input).await {
                Ok(0) | Err(_) => return Ended::Gone,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    async fn feed_all(&mut self) -> Result<(), Ended> {
        let Some(feed) = &mut self.feed else {
            self.complete = true;
            return Ok(());
        };
        loop {
            let decoded = match feed.decoder.decode(self.input) {
                Ok(decoded) => decoded,
                Err(error) => {
                    let _ = feed.pieces.try_send(Err(BodyError::Framing(error)));
                    return Err(Ended::Malformed);
                }
            };
            let piece = match decoded {
                Decoded::Data(data) => Some(http_body::Frame::data(data)),
                Decoded::Trailers(trailers) => Some(http_body::Frame::trailers(trailers)),
                Decoded::End => None,
                Decoded::More => {
                    let read = read_more(self.reader, self.input, limits::AGENT_READ);
                    match timeout(limits::BODY_STALL, read).await {
                        Ok(Ok(1..)) => continue,
                        Ok(Ok(0) | Err(_)) | Err(_) => return Err(Ended::Gone),
                    }
                }
            };
            let done = feed.decoder.is_done();
            // The service may have stopped listening; what comes is then read and dropped.
            let taken = timeout(limits::BODY_STALL, feed.pieces.send(Ok(piece))).await;
            let Ok(taken) = taken else { return Err(Ended::Gone) };
            let unheard = taken.is_err();
            if done {
                self.complete = true;
                return Ok(());
            }
            if unheard {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the rest of a body that nobody wants. Returns whether the next request can be told from it.
    async fn finish(&mut self) -> bool {
        let Some(feed) = &mut self.feed else { return true };
        let mut left = limits::DISCARD;
        while !self.complete {
            match feed.decoder.decode(self.input) {
                Ok(Decoded::Data(data)) => match left.checked_sub(data.len()) {
                    Some(less) => left = less,
                    None => return false,
                },
                Ok(Decoded::Trailers(_) | Decoded::End) => self.complete = true,
                Ok(Decoded::More) => {
                    let read = read_more(self.reader, self.input, limits::AGENT_READ);
                    match timeout(Duration::from_secs(2), read).await {
                        Ok(Ok(1..)) => {}
                        Ok(Ok(0) | Err(_)) | Err(_) => return false,
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// What comes of something before a timer ends.
async fn until<T>(timer: Pin<&mut Sleep>, what: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        came = what => Some(came),
        () = timer => None,
    }
}

/// Reads what is there, at least one byte. Until it is there no buffer is held for it.
async fn read_some<R: AsyncRead + Unpin>(reader: &mut R, input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; 8 << 10];
        let mut read = ReadBuf::uninit(&mut room);
        std::task::ready!(Pin::new(&mut *reader).poll_read(cx, &mut read))?;
        input.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

/// Reads what is there, at least one byte, into free space of about `room` bytes.
async fn read_more<R: AsyncRead + Unpin>(
    reader: &mut R,
    input: &mut BytesMut,
    room: usize,
) -> io::Result<usize> {
    input.reserve(room);
    reader.read_buf(input).await
}

async fn discard<R: AsyncRead + Unpin>(reader: &mut R, most: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut left = most;
    loop {
        let read = reader.read(&mut buffer).await?;
        match left.checked_sub(read) {
            Some(less) if read > 0 => left = less,
            Some(_) | None => return Ok(()),
        }
    }
}

fn ambiguous(method: Method, target: Bytes, why: &'static str) -> Box<Request> {
    Box::new(Request {
        method,
        target,
        authority: None,
        headers: HeaderMap::new(),
        ambiguity: Some(why),
        websocket: None,
        body: RequestBody::Empty,
    })
}
