//! Sends the judged request and takes the head of its response.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    dial::{DialError, Dialled, Dialler},
    pool::{Http1, Identity, Plan, Pool, Sender},
};
use crate::{
    judge::Route,
    limits,
    message::{BodyError, RequestBody},
};

/// A request's body on its way out: it fails as soon as its exchange is over or cut.
pub(crate) enum SentBody {
    /// None.
    Empty,
    /// Of the agent.
    Streamed(RequestBody, Pin<Box<WaitForCancellationFutureOwned>>),
}

impl SentBody {
    fn new(body: RequestBody, over: &CancellationToken) -> Self {
        match body {
            RequestBody::Empty => Self::Empty,
            body @ (RequestBody::Http1(_) | RequestBody::Http2(_) | RequestBody::Whole(_)) => {
                Self::Streamed(body, Box::pin(over.clone().cancelled_owned()))
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
            Self::Streamed(body, over) => {
                if over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                Pin::new(body).poll_frame(cx).map_ok(without_credentials)
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
fn without_credentials(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            crate::headers::strip_hop_by_hop(&mut trailers);
            chiton_llm::strip_headers(&mut trailers);
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
        source: hyper::Error,
    },
    /// The canonical request cannot be written as a URI.
    #[error("the request's target cannot be sent")]
    Target,
    /// The server switched protocols without being asked.
    #[error("`{0}` answered with a protocol that nobody asked for")]
    Switched(String),
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
}

/// A response, and the connection to give back when its body has ended.
pub(crate) struct Answered {
    /// The response.
    pub(crate) response: http::Response<Incoming>,
    /// For HTTP/1: whose turn is over with the body.
    pub(crate) lease: Option<Lease>,
}

/// An HTTP/1 connection in use.
pub(crate) struct Lease {
    upstream: Arc<Upstream>,
    identity: Identity,
    sender: Http1,
}

impl Lease {
    /// The response has ended in good order: the connection may serve another.
    pub(crate) fn give_back(self) {
        self.upstream.pool.give_back(&self.identity, self.sender);
    }
}

/// Everything on the servers' side.
pub(crate) struct Upstream {
    /// Makes connections.
    pub(crate) dialler: Dialler,
    /// Keeps them.
    pub(crate) pool: Pool,
}

impl Upstream {
    /// Sends one request where its permit leads, on a connection of the same permit identity.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        route: &Route,
        head: OutgoingHead,
        body: RequestBody,
        over: &CancellationToken,
    ) -> Result<Answered, ForwardError> {
        let identity = route.identity();
        let mut body = SentBody::new(body, over);
        loop {
            let (sender, fresh) = self.sender(route, &identity).await?;
            let repeatable = !fresh && body.is_empty();
            match self.send(sender, route, &head, body, &identity).await? {
                Ok(answered) => return Ok(answered),
                // A kept connection may have died meanwhile: what was not sent, or has no body and may be
                // repeated, goes out once more.
                Err(Failed { unsent: Some(unsent), .. }) if !fresh => body = unsent,
                Err(Failed { .. }) if repeatable && head.method.is_idempotent() => body = SentBody::Empty,
                Err(Failed { source, .. }) => {
                    return Err(ForwardError::Upstream { host: route.host.to_string(), source });
                }
            }
        }
    }

    /// A connection, and whether it is new.
    async fn sender(&self, route: &Route, identity: &Identity) -> Result<(Sender, bool), ForwardError> {
        let mut waited = false;
        loop {
            let alone = match self.pool.plan(identity) {
                Plan::Use(Sender::Http1(mut sender)) => {
                    if sender.ready().await.is_ok() {
                        return Ok((Sender::Http1(sender), false));
                    }
                    continue;
                }
                Plan::Use(Sender::Http2(mut sender)) => {
                    if sender.ready().await.is_ok() {
                        return Ok((Sender::Http2(sender), false));
                    }
                    continue;
                }
                Plan::Dial => None,
                // Who waited in vain dials for itself, so that a server that is not there fails all at once.
                Plan::DialAlone(_) if waited => None,
                Plan::DialAlone(turn) => match turn.clone().try_lock_owned() {
                    Ok(turn) => Some(turn),
                    Err(_) => {
                        // Somebody dials already, and may come back with a connection for all.
                        drop(turn.lock().await);
                        waited = true;
                        continue;
                    }
                },
            };
            let sender = self.open(route).await?;
            self.pool.opened(identity, &sender);
            drop(alone);
            return Ok((sender, true));
        }
    }

    async fn open(&self, route: &Route) -> Result<Sender, ForwardError> {
        let Dialled { connection, http2 } = self.dialler.dial(route).await?;
        let broke_off = |source| ForwardError::Upstream { host: route.host.to_string(), source };
        let io = TokioIo::new(connection);
        if http2 {
            let mut builder = conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(limits::STREAM_WINDOW)
                .initial_connection_window_size(limits::CONNECTION_WINDOW)
                .max_frame_size(limits::FRAME)
                .max_send_buf_size(limits::SEND_BUFFER)
                .max_header_list_size(limits::HEADER_LIST);
            let (sender, connection) = builder.handshake(io).await.map_err(broke_off)?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        } else {
            let builder = conn::http1::Builder::new();
            let (sender, connection) = builder.handshake(io).await.map_err(broke_off)?;
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
    }

    async fn send(
        self: &Arc<Self>,
        sender: Sender,
        route: &Route,
        head: &OutgoingHead,
        body: SentBody,
        identity: &Identity,
    ) -> Result<Result<Answered, Failed>, ForwardError> {
        let (sent, lease) = match sender {
            Sender::Http1(mut sender) => {
                let request = http1_request(route, head, body)?;
                let sent = sender.try_send_request(request).await;
                (sent, Some(Lease { upstream: self.clone(), identity: identity.clone(), sender }))
            }
            Sender::Http2(mut sender) => {
                let request = http2_request(route, head, body)?;
                (sender.try_send_request(request).await, None)
            }
        };
        Ok(match sent {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(ForwardError::Switched(route.host.to_string()));
            }
            Ok(response) => Ok(Answered { response, lease }),
            Err(mut failed) => {
                let unsent = failed.take_message().map(Request::into_body);
                Err(Failed { unsent, source: failed.into_error() })
            }
        })
    }
}

/// A request that got no response; with its body where nothing of it was sent.
struct Failed {
    unsent: Option<SentBody>,
    source: hyper::Error,
}

fn http1_request(
    route: &Route,
    head: &OutgoingHead,
    body: SentBody,
) -> Result<Request<SentBody>, ForwardError> {
    let target = PathAndQuery::from_maybe_shared(route.target.clone()).map_err(|_| ForwardError::Target)?;
    let mut request = Request::new(body);
    *request.uri_mut() = Uri::from(target);
    *request.method_mut() = head.method.clone();
    let mut headers = head.headers.clone();
    let host = HeaderValue::from_str(&route.authority).map_err(|_| ForwardError::Target)?;
    headers.insert(header::HOST, host);
    join_cookies(&mut headers);
    match request.body().size_hint().exact() {
        Some(length) if length > 0 || takes_body(&head.method) => {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Some(_) => {}
        // hyper leaves out the body of a GET that it cannot measure, unless it is told.
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    if head.trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    *request.headers_mut() = headers;
    Ok(request)
}

fn http2_request(
    route: &Route,
    head: &OutgoingHead,
    body: SentBody,
) -> Result<Request<SentBody>, ForwardError> {
    let target = PathAndQuery::from_maybe_shared(route.target.clone()).map_err(|_| ForwardError::Target)?;
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
fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

/// HTTP/2 may split cookies over fields, HTTP/1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(_)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(header::COOKIE, joined);
        }
    }
}
