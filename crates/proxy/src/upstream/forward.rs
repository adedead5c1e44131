//! Sends the judged request and takes the head of its response.

use std::{
    error::Error as _,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    dial::{DialError, Dialled, Dialler},
    http1::{self, Http1Error, Idle, RequestHead},
    http2::{LentBody, Share, WideStreams},
    pool::{Identity, Plan, Pool, Sender},
};
use crate::{
    judge::Route,
    message::{BodyError, RequestBody},
};

/// A request's body on its way out: it fails as soon as its exchange is over or cut.
pub(crate) enum SentBody {
    /// None.
    Empty,
    /// Of the agent.
    Streamed(RequestBody, Bounds),
}

/// When a body ends before its end.
pub(crate) struct Bounds {
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// So many bytes may still come, where there is a limit.
    left: Option<u64>,
    /// More came.
    exceeded: Arc<AtomicBool>,
    /// The field that carries a credential of ours: trailers must not say another.
    own: Option<HeaderName>,
}

impl SentBody {
    fn new(
        body: RequestBody,
        over: &CancellationToken,
        left: Option<u64>,
        exceeded: &Arc<AtomicBool>,
        own: Option<HeaderName>,
    ) -> Self {
        match body {
            RequestBody::Empty => Self::Empty,
            body @ (RequestBody::Http1(_)
            | RequestBody::Http2(_)
            | RequestBody::Whole(_)
            | RequestBody::Signed(_)) => {
                let over = Box::pin(over.clone().cancelled_owned());
                Self::Streamed(body, Bounds { over, left, exceeded: exceeded.clone(), own })
            }
        }
    }

    const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body, bounds) => {
                if bounds.over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx)?);
                let length = frame.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
                if let Some(left) = &mut bounds.left {
                    let Some(less) = left.checked_sub(length) else {
                        bounds.exceeded.store(true, Ordering::Relaxed);
                        return Poll::Ready(Some(Err(BodyError::OverLimit)));
                    };
                    *left = less;
                }
                Poll::Ready(frame.map(|frame| Ok(without_credentials(frame, bounds.own.as_ref()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(body, _) => body.size_hint(),
        }
    }
}

/// Trailers come after the judgement, and so must not say what it was about, or who asks.
fn without_credentials(frame: Frame<Bytes>, own: Option<&HeaderName>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            crate::headers::strip_hop_by_hop(&mut trailers);
            chiton_llm::strip_headers(&mut trailers);
            if let Some(own) = own {
                trailers.remove(own);
            }
            trailers.remove(header::HOST);
            trailers.remove(header::CONTENT_LENGTH);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// Nothing was sent.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server broke off.
    #[error("`{host}` broke off before it answered: {source}")]
    Upstream {
        /// The judged host.
        host: String,
        /// Why.
        #[source]
        source: BrokenOff,
    },
    /// The server did nothing with it, and it cannot be sent again from here, or was.
    #[error("`{host}` did not process the request: {source}")]
    Unprocessed {
        /// The judged host.
        host: String,
        /// How it said so.
        #[source]
        source: BrokenOff,
    },
    /// The canonical request cannot be written as a URI.
    #[error("the request's target cannot be sent")]
    Target,
    /// The request's body is longer than its rule allows; what the server had of it was broken off.
    #[error("the body of the request to `{0}` is over the rule's `request_body`")]
    OverLimit(String),
    /// The server switched protocols without being asked.
    #[error("`{0}` answered with a protocol that nobody asked for")]
    Switched(String),
}

/// How a server broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    /// On HTTP/1.
    #[error(transparent)]
    Http1(#[from] Http1Error),
    /// On HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl BrokenOff {
    /// Whether the server says that it did nothing with the request: then it may go out once more, whatever its method is
    /// (RFC 9113, 6.8 and 8.7). It is the streams above the last one of a GOAWAY that the library fails with it.
    fn is_unprocessed(&self) -> bool {
        self.of_http2().is_some_and(|error| match error.reason() {
            Some(h2::Reason::NO_ERROR) => error.is_remote() && error.is_go_away(),
            Some(h2::Reason::REFUSED_STREAM) => error.is_remote() && error.is_reset(),
            Some(_) | None => false,
        })
    }

    /// Whether the server broke off this exchange alone, and its connection stands.
    fn is_of_the_stream(&self) -> bool {
        self.of_http2().is_some_and(|error| error.is_remote() && error.is_reset())
    }

    fn of_http2(&self) -> Option<&h2::Error> {
        let Self::Http2(error) = self else { return None };
        error.source()?.downcast_ref()
    }
}

/// Whether a request goes out a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    Not,
    /// On whatever connection there is: the server did nothing with the first.
    Shared,
    /// On a new one: those that are kept may have died all.
    Alone,
}

/// The head of a request, canonical, without anything of one hop.
#[derive(Debug)]
pub(crate) struct OutgoingHead {
    /// The judged method.
    pub(crate) method: Method,
    /// All fields but `Host`.
    pub(crate) headers: HeaderMap,
    /// The agent takes trailers.
    pub(crate) trailers: bool,
    /// The field that carries a credential of ours.
    pub(crate) own: Option<HeaderName>,
}

/// The body of a response.
pub(crate) enum UpstreamBody {
    /// On a connection of its own, for now.
    Http1(Box<http1::ResponseBody>, Lease),
    /// Of a WebSocket that was not opened, or of a stream of HTTP/2.
    Hyper(Incoming, #[expect(dead_code, reason = "held until the response has ended")] Option<Arc<Share>>),
    /// It has ended; the request's body may not have.
    Ended(#[expect(dead_code, reason = "held until the response has ended")] Option<Box<SentBody>>),
}

/// Where an HTTP/1 connection goes back to.
pub(crate) struct Lease {
    upstream: Arc<Upstream>,
    identity: Identity,
}

impl UpstreamBody {
    /// The response has ended in good order: the connection may serve another.
    pub(crate) fn release(&mut self) {
        if let Self::Http1(body, lease) = std::mem::replace(self, Self::Ended(None)) {
            match body.into_idle() {
                Ok(idle) => lease.upstream.pool.give_back(&lease.identity, idle),
                Err(rest) => *self = Self::Ended(rest),
            }
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(body, _) => Pin::new(&mut **body).poll_frame(cx),
            Self::Hyper(body, _) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http),
            Self::Ended(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body, _) => body.is_end_stream(),
            Self::Hyper(body, _) => body.is_end_stream(),
            Self::Ended(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body, _) => body.size_hint(),
            Self::Hyper(body, _) => body.size_hint(),
            Self::Ended(_) => SizeHint::with_exact(0),
        }
    }
}

/// Everything on the servers' side.
pub(crate) struct Upstream {
    /// Makes connections.
    pub(crate) dialler: Dialler,
    /// Keeps them.
    pub(crate) pool: Pool,
    /// Says which of them have wide windows.
    pub(crate) wide: WideStreams,
}

impl Upstream {
    /// Sends one request where its permit leads, on a connection of the same permit identity.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        route: &Route,
        head: OutgoingHead,
        body: RequestBody,
        over: &CancellationToken,
    ) -> Result<http::Response<UpstreamBody>, ForwardError> {
        let identity = route.identity();
        let exceeded = Arc::new(AtomicBool::new(false));
        let sent =
            |body| SentBody::new(body, over, route.permit.most_of_request(), &exceeded, head.own.clone());
        let mut again = body.again();
        let mut body = sent(body);
        // Once, where the server may have seen the first.
        let mut repeated = Repeated::Not;
        loop {
            let (sender, fresh) = match repeated {
                Repeated::Alone => (self.dial(route, &identity).await?, true),
                Repeated::Not | Repeated::Shared => self.sender(route, &identity).await?,
            };
            let repeatable = !fresh && body.is_empty();
            match self.send(sender, route, &head, body, &identity).await? {
                Ok(answered) => return Ok(answered),
                // A kept connection may have died meanwhile: what was not sent, or has no body and may be
                // repeated, goes out once more.
                Err(Failed { unsent: Some(unsent), .. }) if !fresh => body = unsent,
                Err(Failed { source, share, unread, .. }) if source.is_unprocessed() => {
                    share.inspect(|share| self.pool.leave(&identity, share));
                    match again.take().map(sent).or(unread) {
                        Some(again) if repeated == Repeated::Not => {
                            (body, repeated) = (again, Repeated::Shared);
                        }
                        Some(_) | None => {
                            return Err(ForwardError::Unprocessed { host: route.host.to_string(), source });
                        }
                    }
                }
                Err(Failed { source, share, .. })
                    if repeated == Repeated::Not
                        && repeatable
                        && head.method.is_idempotent()
                        && !source.is_of_the_stream() =>
                {
                    share.inspect(|share| self.pool.leave(&identity, share));
                    (body, repeated) = (SentBody::Empty, Repeated::Alone);
                }
                Err(Failed { .. }) if exceeded.load(Ordering::Relaxed) => {
                    return Err(ForwardError::OverLimit(route.host.to_string()));
                }
                Err(Failed { source, .. }) => {
                    return Err(ForwardError::Upstream { host: route.host.to_string(), source });
                }
            }
        }
    }

    /// A connection, and whether it is new.
    async fn sender(&self, route: &Route, identity: &Identity) -> Result<(Sender, bool), ForwardError> {
        let mut waited = None;
        loop {
            let alone = match self.pool.plan(identity) {
                // The pool has looked whether the server still keeps it.
                Plan::Use(sender) => return Ok((sender, false)),
                Plan::Dial => None,
                // Who waited in vain dials for itself, so that a server that is not there fails all at once.
                Plan::DialAlone(_, opened) if waited == Some(opened) => None,
                Plan::DialAlone(turn, opened) => match turn.clone().try_lock_owned() {
                    Ok(turn) => Some(turn),
                    Err(_) => {
                        // Somebody dials already, and may come back with a connection for all.
                        drop(turn.lock().await);
                        waited = Some(opened);
                        continue;
                    }
                },
            };
            let sender = self.dial(route, identity).await?;
            drop(alone);
            return Ok((sender, true));
        }
    }

    /// A new connection, which others may share.
    async fn dial(&self, route: &Route, identity: &Identity) -> Result<Sender, ForwardError> {
        let sender = Box::pin(self.open(route)).await?;
        self.pool.opened(identity, &sender);
        Ok(sender)
    }

    async fn open(&self, route: &Route) -> Result<Sender, ForwardError> {
        let Dialled { connection, http2 } = self.dialler.dial(route).await?;
        if !http2 {
            return Ok(Sender::Http1(Idle::new(connection)));
        }
        let share = Share::open(connection, &self.wide).await.map_err(|source| ForwardError::Upstream {
            host: route.host.to_string(),
            source: source.into(),
        })?;
        Ok(Sender::Http2(share))
    }

    async fn send(
        self: &Arc<Self>,
        sender: Sender,
        route: &Route,
        head: &OutgoingHead,
        body: SentBody,
        identity: &Identity,
    ) -> Result<Result<http::Response<UpstreamBody>, Failed>, ForwardError> {
        let answered = match sender {
            Sender::Http1(idle) => {
                let lease = Lease { upstream: self.clone(), identity: identity.clone() };
                send_http1(idle, route, head, body, lease).await
            }
            Sender::Http2(share) => send_http2(share, http2_request(route, head, body)?).await,
        };
        match answered {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(ForwardError::Switched(route.host.to_string()))
            }
            answered => Ok(answered),
        }
    }
}

async fn send_http1(
    idle: Idle,
    route: &Route,
    head: &OutgoingHead,
    body: SentBody,
    lease: Lease,
) -> Result<http::Response<UpstreamBody>, Failed> {
    let written = RequestHead {
        method: &head.method,
        target: route.target.dangerous_expose(),
        authority: &route.authority,
        headers: &head.headers,
        trailers: head.trailers,
    };
    let mut exchange = idle.send(&written, body);
    match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(mut answered) => {
            let headers = std::mem::take(&mut answered.headers);
            let body = exchange.into_body(&answered);
            let mut response = http::Response::new(UpstreamBody::Http1(Box::new(body), lease));
            *response.status_mut() = answered.status;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Err(error) => {
            Err(Failed { unsent: exchange.unsent(), unread: None, source: error.into(), share: None })
        }
    }
}

async fn send_http2(
    share: Share,
    request: Request<SentBody>,
) -> Result<http::Response<UpstreamBody>, Failed> {
    let (head, body) = request.into_parts();
    let share = Arc::new(share);
    let (body, lent) = LentBody::of(body, share.clone());
    match share.sender().try_send_request(Request::from_parts(head, body)).await {
        Ok(response) => Ok(response.map(|body| UpstreamBody::Hyper(body, Some(share)))),
        Err(mut failed) => {
            let (unread, sent) = (lent.take_back(), failed.take_message().is_none());
            let (unsent, unread) = if sent { (None, unread) } else { (unread, None) };
            Err(Failed { unsent, unread, source: failed.into_error().into(), share: Some(share) })
        }
    }
}

/// A request that got no response.
struct Failed {
    /// Its body, where nothing of the request was sent.
    unsent: Option<SentBody>,
    /// Its body, where its head was sent, and nothing of the body was read.
    unread: Option<SentBody>,
    source: BrokenOff,
    /// In the connection, where that is of HTTP/2.
    share: Option<Arc<Share>>,
}

fn http2_request(
    route: &Route,
    head: &OutgoingHead,
    body: SentBody,
) -> Result<Request<SentBody>, ForwardError> {
    let target = PathAndQuery::from_maybe_shared(route.target.dangerous_expose().clone())
        .map_err(|_| ForwardError::Target)?;
    let uri =
        Uri::builder().scheme(route.scheme.as_str()).authority(&*route.authority).path_and_query(target);
    let mut request = Request::new(body);
    *request.uri_mut() = uri.build().map_err(|_| ForwardError::Target)?;
    *request.method_mut() = head.method.clone();
    let mut headers = head.headers.clone();
    match request.body().size_hint().exact() {
        Some(length) if length > 0 || takes_body(&head.method) => {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Some(_) | None => {}
    }
    if head.trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// A method whose empty body is worth a `Content-Length: 0`.
pub(super) fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}
