//! The downstream HTTP/2 side: hyper's server within our limits, every stream judged by itself.

use std::{pin::Pin, sync::Arc};

use http::{HeaderMap, Method, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    limits,
    message::{Aborted, Request, RequestBody, Response},
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
        .max_header_list_size(limits::HEADER_LIST)
        .initial_stream_window_size(limits::AGENT_STREAM_WINDOW)
        .initial_connection_window_size(limits::AGENT_CONNECTION_WINDOW)
        .max_frame_size(limits::FRAME)
        .max_send_buf_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(limits::IDLE)
        .auto_date_header(false);
    let streams = Streams { handler: Arc::new(handler) };
    // An error is the agent's: the connection is over either way.
    let _ = builder.serve_connection(TokioIo::new(io), streams).await;
}

struct Streams<H> {
    handler: Arc<H>,
}

/// What hyper resets a stream for.
#[derive(Debug, thiserror::Error)]
#[error("the exchange was cut")]
struct Reset;

impl<H: Handler> hyper::service::Service<http::Request<Incoming>> for Streams<H> {
    type Response = Response;
    type Error = Reset;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Reset>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        let handler = self.handler.clone();
        let stream = hyper::upgrade::on(&mut request);
        let request = message(request);
        Box::pin(async move {
            let mut response = handler.call(request).await.map_err(|Aborted| Reset)?;
            if let Some(relay) = websocket::switched(&mut response) {
                websocket::serve_http2(relay, stream);
            }
            Ok(response)
        })
    }
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
