//! Writes responses to an HTTP/1 connection: one framing, made anew, whatever the upstream server used.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{body::put_hex, head::Version};
use crate::{
    limits,
    message::{BodyError, Last, Response, ResponseBody},
};

/// What the request says about how its response is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// A response to HEAD has no body, whatever its length says.
    pub(crate) head: bool,
    /// HTTP/1.0 knows no chunks: a body without length ends with the connection.
    pub(crate) version: Version,
    /// Whether the connection may go on afterwards.
    pub(crate) keep_alive: bool,
}

impl Reply {
    /// For a request of this method and version.
    pub(crate) fn to(method: &Method, version: Version, keep_alive: bool) -> Self {
        Self { head: method == Method::HEAD, version, keep_alive }
    }
}

/// Why a response was not written to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The agent's side failed.
    #[error(transparent)]
    Downstream(#[from] std::io::Error),
    /// The body failed: the agent must see an abort.
    #[error(transparent)]
    Body(#[from] BodyError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    None,
    Length,
    Chunked,
    UntilClose,
}

/// Small frames are copied together with their framing; larger ones are written from where they are.
const COALESCE: usize = 8 << 10;

/// Writes one response. Returns whether the connection may be used again.
pub(crate) async fn write_response<W: AsyncWrite + Unpin>(
    to: &mut W,
    response: Response,
    reply: Reply,
    out: &mut BytesMut,
) -> Result<bool, WriteError> {
    let (parts, mut body) = response.into_parts();
    let coding = coding(parts.status, &body, reply);
    let last = parts.extensions.get::<Last>().is_some();
    let keep_alive = reply.keep_alive && !last && coding != Coding::UntilClose;
    out.clear();
    out.reserve(1 << 10);
    put_head(out, parts.status, &parts.headers, reply.version);
    put_framing(out, &body, coding, reply, &parts.headers);
    if !keep_alive {
        out.put_slice(b"connection: close\r\n");
    } else if reply.version == Version::Http10 {
        out.put_slice(b"connection: keep-alive\r\n");
    }
    out.put_slice(b"\r\n");
    if coding == Coding::None {
        to.write_all(out).await?;
        to.flush().await?;
        return Ok(keep_alive);
    }
    write_body(to, &mut body, coding, out).await?;
    Ok(keep_alive)
}

/// Writes the head after which the connection is no HTTP any more.
pub(crate) async fn write_switching<W: AsyncWrite + Unpin>(
    to: &mut W,
    status: StatusCode,
    headers: &HeaderMap,
    out: &mut BytesMut,
) -> std::io::Result<()> {
    out.clear();
    put_head(out, status, headers, Version::Http11);
    out.put_slice(b"connection: Upgrade\r\n\r\n");
    to.write_all(out).await?;
    to.flush().await
}

fn coding(status: StatusCode, body: &ResponseBody, reply: Reply) -> Coding {
    let bodiless =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || reply.head {
        Coding::None
    } else if body.size_hint().exact().is_some() {
        Coding::Length
    } else if reply.version == Version::Http11 {
        Coding::Chunked
    } else {
        Coding::UntilClose
    }
}

fn put_head(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap, version: Version) {
    out.put_slice(match version {
        Version::Http10 => b"HTTP/1.0 ",
        Version::Http11 => b"HTTP/1.1 ",
    });
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in headers {
        if matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
            continue;
        }
        put_field(out, name.as_str(), value.as_bytes());
    }
}

fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn put_framing(out: &mut BytesMut, body: &ResponseBody, coding: Coding, reply: Reply, headers: &HeaderMap) {
    match coding {
        Coding::Length => {
            let length = body.size_hint().exact().unwrap_or(0);
            put_field(out, "content-length", length.to_string().as_bytes());
        }
        Coding::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Coding::UntilClose => {}
        // The length that a GET would have had, where the server told.
        Coding::None if reply.head => {
            let told = headers.get(header::CONTENT_LENGTH);
            if let Some(length) = told {
                put_field(out, "content-length", length.as_bytes());
            } else if let Some(length @ 1..) = body.size_hint().exact() {
                put_field(out, "content-length", length.to_string().as_bytes());
            }
        }
        Coding::None => {}
    }
}

async fn write_body<W: AsyncWrite + Unpin>(
    to: &mut W,
    body: &mut ResponseBody,
    coding: Coding,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    loop {
        let next = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                // Nothing to add for now: what is there goes out at once.
                if !out.is_empty() {
                    write_moving(to, out).await?;
                }
                to.flush().await?;
                body.frame().await
            }
        };
        match next.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => write_data(to, data, coding, out).await?,
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return finish(to, coding, &trailers, out).await;
            }
            None => return finish(to, coding, &HeaderMap::new(), out).await,
        }
    }
}

async fn write_data<W: AsyncWrite + Unpin>(
    to: &mut W,
    data: Bytes,
    coding: Coding,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    if coding == Coding::Chunked {
        put_hex(out, data.len());
        out.put_slice(b"\r\n");
    }
    let end: &[u8] = if coding == Coding::Chunked { b"\r\n" } else { b"" };
    if data.len() + out.len() <= COALESCE {
        out.put_slice(&data);
        out.put_slice(end);
        return Ok(());
    }
    let mut all = (&out[..]).chain(data).chain(end);
    write_moving(to, &mut all).await?;
    out.clear();
    Ok(())
}

async fn finish<W: AsyncWrite + Unpin>(
    to: &mut W,
    coding: Coding,
    trailers: &HeaderMap,
    out: &mut BytesMut,
) -> Result<(), WriteError> {
    if coding == Coding::Chunked {
        out.put_slice(b"0\r\n");
        for (name, value) in trailers {
            put_field(out, name.as_str(), value.as_bytes());
        }
        out.put_slice(b"\r\n");
    }
    if !out.is_empty() {
        write_moving(to, out).await?;
    }
    to.flush().await?;
    Ok(())
}

/// Writes all of it, for as long as the agent takes some of it in [`limits::BODY_STALL`].
async fn write_moving<W: AsyncWrite + Unpin>(to: &mut W, bytes: &mut impl Buf) -> std::io::Result<()> {
    while bytes.has_remaining() {
        if timeout(limits::BODY_STALL, to.write_buf(bytes)).await?? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
