//! A WebSocket server that says everything back, and writes down what it was told.
//!
//! | query | does |
//! |---|---|
//! | `accept=TEXT` | says this instead of the answer to the key |
//! | `extensions=TEXT` | turns this extension on |
//! | `protocol=TEXT` | chooses this subprotocol |
//! | `say=HEX` | begins with these bytes, as they are |
//! | `flood=N` | begins with N binary messages of 4 KiB |
//! | `deaf=1` | reads nothing |
//!
//! What it was told is the request's body in the log: a line `kind:payload` for each frame, where a close frame's
//! payload is its code.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Response, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Answer, Received, answer, full};

/// Opens a WebSocket where it is asked to, and refuses the rest with 426.
pub async fn answer_request(mut received: Received) -> Answer {
    let Some(key) = received.seen.header("sec-websocket-key").map(str::to_owned) else {
        return answer(426, "text/plain", "a WebSocket is spoken here\n");
    };
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = received.query("accept").unwrap_or_else(|| STANDARD.encode(hash));
    let mut builder = Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", accept);
    for name in ["extensions", "protocol"] {
        if let Some(value) = received.query(name) {
            builder = builder.header(format!("sec-websocket-{name}"), value);
        }
    }
    let upgrade = hyper::upgrade::on(&mut received.request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrade.await {
            let _ = converse(TokioIo::new(stream), &received).await;
        }
    });
    builder.body(full("")).expect("an answer")
}

async fn converse(mut stream: TokioIo<Upgraded>, received: &Received) -> std::io::Result<()> {
    if let Some(say) = received.query("say") {
        stream.write_all(&unhex(&say)).await?;
    }
    for _ in 0..received.number("flood", 0) {
        stream.write_all(&frame(0x82, &[b'x'; 4096])).await?;
    }
    if received.query("deaf").is_some() {
        std::future::pending::<()>().await;
    }
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let length = match head[1] & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        assert!(head[1] & 0x80 != 0, "what a client sends is masked");
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).expect("a length that fits")];
        stream.read_exact(&mut payload).await?;
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        note(received, head[0], &payload);
        match head[0] & 0x0f {
            8 => {
                stream.write_all(&frame(head[0], &payload)).await?;
                return stream.shutdown().await;
            }
            9 => stream.write_all(&frame(0x8a, &payload)).await?,
            10 => {}
            _ => stream.write_all(&frame(head[0], &payload)).await?,
        }
    }
}

fn note(received: &Received, first: u8, payload: &[u8]) {
    let kind = ["continuation", "text", "binary", "?", "?", "?", "?", "?", "close", "ping", "pong"];
    let kind = kind.get(usize::from(first & 0x0f)).unwrap_or(&"?");
    let payload = match (first & 0x0f, payload) {
        (8, [high, low, ..]) => u16::from_be_bytes([*high, *low]).to_string(),
        _ => String::from_utf8_lossy(payload).chars().take(100).collect(),
    };
    received.record(format!("{kind}:{payload}\n").as_bytes());
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(u8::try_from(length).expect("a short length")),
        length @ 126..65536 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).expect("a length of two bytes").to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
