//! A connection of HTTP/2 to a server, and the exchanges that share it.
//!
//! Comes in: a new connection. Goes out: a share for each exchange. There are at most [`limits::STREAMS_SHARED`] of them at
//! once, and no more than the server takes, so that none waits in the library's queue until another one has ended; and
//! the connection's window is that of all of them, so that what an agent leaves unread stops no other exchange.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{forward::SentBody, wire::Connection};
use crate::{limits, message::BodyError};

/// A connection as the library drives it.
type Driven = http2::Connection<TokioIo<Connection>, LentBody, TokioExecutor>;

/// Places for exchanges with a wide window.
#[derive(Clone)]
pub(crate) struct WideStreams(pub(crate) Arc<Semaphore>);

impl Default for WideStreams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::WIDE_STREAMS)))
    }
}

impl WideStreams {
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// A connection that exchanges share.
pub(crate) struct Shared {
    sender: http2::SendRequest<LentBody>,
    /// None when it has ended.
    driven: Arc<Mutex<Option<Driven>>>,
    /// Where its windows are wide; each of its exchanges has a place among these.
    wide: Option<WideStreams>,
}

/// The part that one exchange has in a connection, until it is dropped.
pub(crate) struct Share {
    connection: Arc<Shared>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Shared {
    /// Whether the server takes further requests, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether an exchange runs on it. `self` is the one that the pool has.
    pub(crate) fn is_used(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// As many exchanges as may share it: before the server has said how many it takes, and once the connection has ended,
    /// as many as we would.
    pub(crate) fn most(&self) -> usize {
        let ours = limits::STREAMS_SHARED as usize;
        lock(&self.driven).as_ref().map_or(ours, |driven| driven.current_max_send_streams().clamp(1, ours))
    }

    /// A share in it, where fewer than `most` exchanges have one. `self` is the one that the pool has.
    pub(crate) fn share(self: &Arc<Self>, most: usize) -> Option<Share> {
        if Arc::strong_count(self) > most {
            return None;
        }
        let _place = match &self.wide {
            Some(places) => Some(places.place()?),
            None => None,
        };
        Some(Share { connection: self.clone(), _place })
    }
}

impl Share {
    /// Begins HTTP/2 on a new connection; the first share in it.
    pub(crate) async fn open(connection: Connection, places: &WideStreams) -> hyper::Result<Self> {
        let _place = places.place();
        let wide = _place.is_some().then(|| places.clone());
        let window = if wide.is_some() { limits::STREAM_WINDOW } else { limits::NARROW_WINDOW };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // No pings to see whether the server is there: servers of gRPC answer those on silent streams with GOAWAY,
        // `too_many_pings`. A server that is gone is found by the kernel (`limits::UNANSWERED`).
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(limits::STREAMS_SHARED as usize)
            .initial_stream_window_size(window)
            .initial_connection_window_size(limits::STREAMS_SHARED * window)
            .max_frame_size(limits::FRAME)
            .max_send_buf_size(limits::SEND_BUFFER)
            .max_header_list_size(limits::HEADER_LIST);
        let (sender, driven) = builder.handshake(TokioIo::new(connection)).await?;
        let driven = Arc::new(Mutex::new(Some(driven)));
        tokio::spawn(drive(driven.clone()));
        Ok(Self { connection: Arc::new(Shared { sender, driven, wide }), _place })
    }

    /// The connection.
    pub(crate) const fn connection(&self) -> &Arc<Shared> {
        &self.connection
    }

    /// What sends the exchange's request.
    pub(crate) fn sender(&self) -> http2::SendRequest<LentBody> {
        self.connection.sender.clone()
    }
}

/// A request's body in the library's hands, from which it comes back where nothing of it was read.
pub(crate) struct LentBody(Arc<Mutex<Lent>>);

struct Lent {
    /// None when it has come back.
    body: Option<SentBody>,
    read: bool,
    /// The library goes on with a body whose response is dropped, and the stream stands as long.
    _share: Arc<Share>,
}

impl LentBody {
    /// What is sent by this share, and what takes it back.
    pub(crate) fn of(body: SentBody, share: Arc<Share>) -> (Self, Self) {
        let lent = Arc::new(Mutex::new(Lent { body: Some(body), read: false, _share: share }));
        (Self(lent.clone()), Self(lent))
    }

    /// The body, where nothing of it was read.
    pub(crate) fn take_back(self) -> Option<SentBody> {
        let mut lent = lock(&self.0);
        if lent.read { None } else { lent.body.take() }
    }
}

impl Body for LentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut lent = lock(&self.0);
        let Some(body) = &mut lent.body else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        let polled = Pin::new(body).poll_frame(cx);
        lent.read |= polled.is_ready();
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// Until it has ended; then those who would send something are told.
async fn drive(driven: Arc<Mutex<Option<Driven>>>) {
    poll_fn(|cx| {
        let mut held = lock(&driven);
        if let Some(connection) = &mut *held {
            let _ended = ready!(Pin::new(connection).poll(cx));
        }
        *held = None;
        Poll::Ready(())
    })
    .await;
}

/// Held for no longer than the connection's own thread takes to poll what it guards, or to ask it something.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
