//! The downstream HTTP/2 side: hyper's server within our limits, every stream judged by itself.

mod refusals;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use self::refusals::{Refusal, Watched};
use crate::{
    accept::Refused,
    http1::head::HeadError,
    limits,
    memory::{HTTP2_REQUESTS, LARGE_HEADS, Place},
    message::{Aborted, BodyError, Request, RequestBody, ResponseBody, Unprocessed},
    refuse,
    service::Handler,
    websocket::{self, Ask},
};

/// Serves `io` until it ends.
pub(crate) async fn serve<IO, H>(io: IO, handler: H)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .enable_connect_protocol()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS)
        // Up to twice as much is read, so that it is us who refuse it, and write that.
        .max_header_list_size(2 * limits::HEADER_LIST)
        .initial_stream_window_size(limits::AGENT_STREAM_WINDOW)
        .initial_connection_window_size(limits::AGENT_CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME)
        .max_send_buf_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(limits::IDLE)
        .auto_date_header(false);
    let handler = Arc::new(handler);
    let told = handler.clone();
    let passed_on = Arc::new(AtomicUsize::new(0));
    let theirs = passed_on.clone();
    let io = Watched::new(io, move |refusal| {
        if refusal == Refusal::Stream
            && theirs
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |theirs| theirs.checked_sub(1))
                .is_ok()
        {
            return;
        }
        told.not_read(match refusal {
            Refusal::Stream | Refusal::OverLimit => Refused::TooMuch,
            Refusal::Broken => Refused::Malformed,
        });
    });
    // An error is the agent's: the connection is over either way.
    let _ = builder.serve_connection(TokioIo::new(io), Streams { handler, passed_on }).await;
}

struct Streams<H> {
    handler: Arc<H>,
    /// So many streams are being reset because their servers refused them, which is no refusal of ours.
    passed_on: Arc<AtomicUsize>,
}

/// What hyper resets a stream for.
#[derive(Debug, thiserror::Error)]
enum Reset {
    /// It was aborted.
    #[error("the exchange was cut")]
    Cut,
    /// Too much is under way, here or at the server. The agent may try again; what we refuse is written by [`Watched`].
    /// hyper looks for the code among the sources, and never at the error itself.
    #[error("too much is under way")]
    Refused(#[source] h2::Error),
}

impl Reset {
    fn refused() -> Self {
        Self::Refused(h2::Reason::REFUSED_STREAM.into())
    }
}

/// A response's body, and what its request holds until it is written.
pub(crate) struct Held {
    body: ResponseBody,
    _places: Places,
}

/// The places of one request.
struct Places {
    _request: Place,
    _head: Option<Place>,
}

impl Places {
    /// None where there is none for a request with so large a head.
    fn of(head: usize) -> Option<Self> {
        let _request = HTTP2_REQUESTS.try_place()?;
        let _head = if head > limits::SMALL_HEAD { Some(LARGE_HEADS.try_place()?) } else { None };
        Some(Self { _request, _head })
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<H: Handler> hyper::service::Service<http::Request<Incoming>> for Streams<H> {
    type Response = http::Response<Held>;
    type Error = Reset;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Held>, Reset>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        let head = head_size(&request);
        let Some(places) = Places::of(head) else {
            return Box::pin(std::future::ready(Err(Reset::refused())));
        };
        if head > limits::HEADER_LIST as usize {
            self.handler.not_read(Refused::TooLarge);
            let said = HeadError::TooLarge.to_string();
            let body = refuse::plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &said);
            let response = body.map(|body| Held { body, _places: places });
            return Box::pin(std::future::ready(Ok(response)));
        }
        let (handler, passed_on) = (self.handler.clone(), self.passed_on.clone());
        let stream = hyper::upgrade::on(&mut request);
        let request = message(request);
        Box::pin(async move {
            let mut response = handler.call(Box::new(request)).await.map_err(|Aborted| Reset::Cut)?;
            if response.extensions_mut().remove::<Unprocessed>().is_some() {
                passed_on.fetch_add(1, Ordering::Relaxed);
                return Err(Reset::refused());
            }
            if let Some(relay) = websocket::switched(&mut response) {
                websocket::serve_http2(relay, stream);
            }
            Ok(response.map(|body| Held { body, _places: places }))
        })
    }
}

/// How large a head is, as HTTP/2 counts (RFC 9113, 6.5.2).
fn head_size(request: &http::Request<Incoming>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    target + authority + request.method().as_str().len() + fields.sum::<usize>()
}

fn message(request: http::Request<Incoming>) -> Request {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
    let mut ambiguity = host_ambiguity(&parts.uri, &parts.headers);
    let (mut method, mut websocket) = (parts.method, None);
    // An extended CONNECT (RFC 8441) is judged as the GET that it stands for.
    if let Some(protocol) = parts.extensions.get::<hyper::ext::Protocol>() {
        match Ask::of_connect(protocol.as_str(), &parts.headers) {
            Ok(ask) => (method, websocket) = (Method::GET, Some(ask)),
            Err(why) => ambiguity = Some(why),
        }
    }
    let body =
        if hyper::body::Body::is_end_stream(&body) { RequestBody::Empty } else { RequestBody::Http2(body) };
    Request {
        method,
        target: target.into(),
        authority: parts.uri.authority().map(|authority| authority.as_str().to_owned()),
        headers: parts.headers,
        ambiguity,
        websocket,
        body,
    }
}

/// Only HTTP/1.0 may leave out whom it asks.
fn host_ambiguity(uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    match (headers.get_all(header::HOST).iter().count(), uri.authority()) {
        (0, None) => Some("it has no `:authority` and no `Host`"),
        (0 | 1, _) => None,
        (_, _) => Some("it has more than one `Host`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_names_one_host() {
        let ambiguous = |uri: &'static str, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, http::HeaderValue::from_static(host));
            }
            host_ambiguity(&Uri::from_static(uri), &headers).is_some()
        };
        assert!(!ambiguous("https://h.test/", &[]) && !ambiguous("/", &["h.test"]));
        assert!(!ambiguous("https://h.test/", &["h.test"]));
        assert!(ambiguous("/", &[]) && ambiguous("https://h.test/", &["h.test", "h.test"]));
    }
}
