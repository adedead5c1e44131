//! Routes that show what arrived, or answer in a way of the test's choice.
//!
//! | path | answers |
//! |---|---|
//! | `/sse?n=N&ms=M` | N server-sent events, M milliseconds apart |
//! | `/drip?n=N&ms=M` | N bytes, M milliseconds apart |
//! | `/bytes?n=N` | N bytes, with their length |
//! | `/chunked?n=N` | N chunks of 1 KiB |
//! | `/encode/CODING?header=NAME&split=N` | that header's value, encoded; see [`super::encode`] |
//! | `/redirect?to=URL` | 302 |
//! | `/status/CODE` | that status |
//! | `/upload` | reads the body to its end, and says how long it was |
//! | `/stall` | nothing, ever |
//! | `/cut?n=N` | N bytes of a body that says it has one more |
//! | anything else | the request as JSON |

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame};
use serde_json::json;

use super::encode;
use crate::server::{Answer, Body, Received, answer, full, json as json_answer};

/// Answers by the table above.
pub async fn answer_request(mut received: Received) -> Answer {
    let path = received.path.clone();
    let (count, pause) = (received.number("n", 5), Duration::from_millis(received.number("ms", 0)));
    match path.as_str() {
        "/sse" => streamed("text/event-stream", events(count), pause),
        "/drip" => streamed("application/octet-stream", vec![Bytes::from_static(b"."); size(count)], pause),
        "/chunked" => {
            streamed("application/octet-stream", vec![Bytes::from(vec![b'x'; 1024]); size(count)], pause)
        }
        "/bytes" => big(count),
        "/redirect" => redirect(&received),
        "/upload" => {
            let length = received.drain().await;
            json_answer(200, &json!({ "length": length }))
        }
        "/stall" => std::future::pending().await,
        "/cut" => cut(count),
        _ => match (path.strip_prefix("/status/"), path.strip_prefix("/encode/")) {
            (Some(code), _) => answer(code.parse().unwrap_or(400), "text/plain", "status\n"),
            (_, Some(coding)) => encode::answer_request(coding, &received),
            _ => echo(received).await,
        },
    }
}

async fn echo(mut received: Received) -> Answer {
    let body = received.body().await;
    let seen = &received.seen;
    json_answer(
        200,
        &json!({
            "method": seen.method,
            "target": seen.target,
            "host": seen.host,
            "protocol": seen.protocol,
            "sni": seen.sni,
            "headers": seen.headers,
            "body": String::from_utf8_lossy(&body),
        }),
    )
}

fn size(count: u64) -> usize {
    usize::try_from(count).expect("a length that fits")
}

fn events(count: u64) -> Vec<Bytes> {
    (0..count).map(|n| Bytes::from(format!("id: {n}\ndata: event {n}\n\n"))).collect()
}

/// A body in pieces, with a pause before each.
#[must_use]
pub fn streamed(content_type: &str, pieces: Vec<Bytes>, pause: Duration) -> Answer {
    let body = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, io::Error>(Frame::data(piece)), pieces))
    });
    respond(content_type, BodyExt::boxed_unsync(StreamBody::new(body)))
}

/// A body that begins so, and never ends.
#[must_use]
pub fn stalling(content_type: &str, begin: impl Into<Bytes>) -> Answer {
    let body = stream::iter([Ok::<_, io::Error>(Frame::data(begin.into()))]).chain(stream::pending());
    respond(content_type, BodyExt::boxed_unsync(StreamBody::new(body)))
}

fn respond(content_type: &str, body: Body) -> Answer {
    Response::builder().header("content-type", content_type).body(body).expect("an answer")
}

fn big(count: u64) -> Answer {
    const PIECE: u64 = 64 << 10;
    let piece = Bytes::from(vec![0; size(PIECE)]);
    let body = stream::unfold(count, move |left| {
        let now = left.min(PIECE);
        let piece = piece.slice(..size(now));
        async move { (now > 0).then(|| (Ok::<_, io::Error>(Frame::data(piece)), left - now)) }
    });
    let mut answer = respond("application/octet-stream", BodyExt::boxed_unsync(StreamBody::new(body)));
    answer.headers_mut().insert("content-length", count.into());
    answer
}

fn cut(count: u64) -> Answer {
    let pieces = [Ok(Frame::data(Bytes::from(vec![b'x'; size(count)]))), Err(io::Error::other("cut here"))];
    let mut answer =
        respond("application/octet-stream", BodyExt::boxed_unsync(StreamBody::new(stream::iter(pieces))));
    answer.headers_mut().insert("content-length", (count + 1).into());
    answer
}

fn redirect(received: &Received) -> Answer {
    let to = received.query("to").unwrap_or_else(|| "/".to_owned());
    Response::builder().status(302).header("location", to).body(full("")).expect("an answer")
}
