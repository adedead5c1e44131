//! What every way into the proxy turns requests into, and what the service answers with.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use chiton_aws::ChunkResigner;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{
    accept::Target,
    http1::body::ChannelBody,
    limits,
    upstream::relay::RelayedBody,
    websocket::{Ask, Relay},
};

/// Why a body ends before its end. The other side sees an abort, never a complete shorter body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The agent went away.
    #[error("the agent closed the connection")]
    Disconnected,
    /// The agent's framing is malformed.
    #[error(transparent)]
    Framing(#[from] crate::http1::body::FramingError),
    /// The stream failed.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The server broke off.
    #[error("the server broke off: {0}")]
    Upstream(#[source] crate::upstream::http1::Http1Error),
    /// Nothing came for [`limits::BODY_STALL`].
    #[error("the server sent nothing for {} seconds", limits::BODY_STALL.as_secs())]
    Stalled,
    /// It is longer than its rule allows.
    #[error("the body is over the limit of its rule")]
    OverLimit,
    /// A new revision does not allow it any more.
    #[error("cut by a new revision of the policy")]
    Cut,
    /// The agent's body is not in the chunks that it says.
    #[error(transparent)]
    Chunks(#[from] chiton_aws::ChunkError),
    /// The response cannot be searched for the injected credential.
    #[error("a response with a credential in the request cannot be undone: {0}")]
    Redaction(String),
}

/// One request of the agent, before any judgement.
#[derive(Debug)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: Method,
    /// The target as sent; in HTTP/2 its `:path`.
    pub(crate) target: Bytes,
    /// `:authority`, where there is one.
    pub(crate) authority: Option<String>,
    /// All header fields.
    pub(crate) headers: HeaderMap,
    /// What the codec found ambiguous already.
    pub(crate) ambiguity: Option<&'static str>,
    /// It asks for a WebSocket.
    pub(crate) websocket: Option<Ask>,
    /// The body.
    pub(crate) body: RequestBody,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// Of an HTTP/1 connection.
    Http1(ChannelBody),
    /// Of an HTTP/2 stream.
    Http2(Incoming),
    /// Read before it is sent.
    Whole(Option<Bytes>),
    /// In chunks that are signed anew.
    Signed(Box<SignedBody>),
}

/// A body in signed chunks of Amazon's, signed anew.
#[derive(Debug)]
pub(crate) struct SignedBody {
    body: RequestBody,
    resigner: ChunkResigner,
    over: bool,
}

impl SignedBody {
    /// Of a body that the agent signed.
    pub(crate) const fn new(body: RequestBody, resigner: ChunkResigner) -> Self {
        Self { body, resigner, over: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.over {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)?) {
                Some(frame) => match frame.into_data() {
                    Ok(piece) => {
                        let signed = self.resigner.push(&piece)?;
                        if !signed.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(signed.into()))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None => {
                    self.over = true;
                    self.resigner.end()?;
                }
            }
        }
        Poll::Ready(None)
    }
}

impl RequestBody {
    /// The same once more, where that needs nothing from the agent.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Http1(_) | Self::Http2(_) | Self::Signed(_) => None,
        }
    }

    /// The whole, where it was read before it is sent.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => bytes.as_deref(),
            Self::Empty | Self::Http1(_) | Self::Http2(_) | Self::Signed(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll_next(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Signed(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_none(),
            Self::Signed(body) => body.over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size(),
            Self::Http2(body) => body.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            // Signatures have one length.
            Self::Signed(body) => body.body.size_hint(),
        }
    }
}

/// The body of a response.
pub(crate) enum ResponseBody {
    /// Of our own making.
    Own(Option<Bytes>),
    /// Of an upstream server, on its way to the agent.
    Relayed(Box<RelayedBody>),
    /// None: what follows the head is a WebSocket.
    Switched(Box<Relay>),
    /// None: what follows the head is a connection to there.
    Connected(Target),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Switched(_) | Self::Connected(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Relayed(body) => body.is_end_stream(),
            Self::Switched(_) | Self::Connected(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relayed(body) => body.size_hint(),
            Self::Switched(_) | Self::Connected(_) => SizeHint::with_exact(0),
        }
    }
}

/// A response, and its meaning for the connection.
pub(crate) type Response = http::Response<ResponseBody>;

/// Marks a response after which an HTTP/1 connection ends: who speaks ambiguously is not listened to any further.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last;

/// Marks a response to a request with which its server did nothing, as it says: an agent of HTTP/2 is told that instead, so
/// that its own client repeats it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unprocessed;

/// The exchange ends without a response: the connection, or the stream, is reset.
#[derive(Debug)]
pub(crate) struct Aborted;
