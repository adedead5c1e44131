//! Asks a server for a WebSocket, on a connection of its own.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;

use super::handshake::{Agreed, Asked, BadAnswer};
use crate::{
    judge::Route,
    upstream::dial::{DialError, Dialler},
};

/// What a server answered.
pub(crate) enum Opened {
    /// It opens a WebSocket: the fields of its answer, and the stream.
    Switched(HeaderMap, Agreed, TokioIo<hyper::upgrade::Upgraded>),
    /// It does not, and says something else.
    Answered(http::Response<Incoming>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
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
    /// The canonical request cannot be written.
    #[error("the request's target cannot be sent")]
    Target,
    /// There is no randomness for a key.
    #[error("there is no randomness for a key")]
    Random,
    /// It says 101, and does not mean what was asked.
    #[error("the WebSocket of `{host}` cannot be opened: {why}")]
    Answer {
        /// The judged host.
        host: String,
        /// What is wrong.
        why: BadAnswer,
    },
}

/// Asks where the permit leads. `headers` are the agent's, without those of one hop; no extension is asked for unless
/// `extensions`.
pub(crate) async fn open(
    dialler: &Dialler,
    route: &Route,
    mut headers: HeaderMap,
    extensions: bool,
) -> Result<Opened, OpenError> {
    let mut key = [0; 16];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| OpenError::Random)?;
    let asked = Asked::put(&mut headers, key, extensions);
    let request = request(route, headers)?;
    let host = || route.host.to_string();
    let broke_off = |source| OpenError::Upstream { host: host(), source };
    let connection = dialler.dial_http1(route).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(connection)).await.map_err(broke_off)?;
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(broke_off)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Opened::Answered(response));
    }
    let agreed = asked.check(response.headers()).map_err(|why| OpenError::Answer { host: host(), why })?;
    let stream = hyper::upgrade::on(&mut response).await.map_err(broke_off)?;
    Ok(Opened::Switched(response.into_parts().0.headers, agreed, TokioIo::new(stream)))
}

fn request(route: &Route, mut headers: HeaderMap) -> Result<Request<Empty<Bytes>>, OpenError> {
    let target = PathAndQuery::from_maybe_shared(route.target.dangerous_expose().clone())
        .map_err(|_| OpenError::Target)?;
    let host = HeaderValue::from_str(&route.authority).map_err(|_| OpenError::Target)?;
    headers.insert(header::HOST, host);
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from(target);
    *request.method_mut() = Method::GET;
    *request.headers_mut() = headers;
    Ok(request)
}
