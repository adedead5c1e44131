//! What must hold of the readers of hostile bytes, whatever they read: for the fuzz targets, and as a test.

use bytes::BytesMut;
use hickory_proto::op::Message;

use crate::{
    dns::{
        names::{DnsName, Names, NoStandIn, StandIn},
        server::{Resolve, answer},
    },
    hello::{FirstBytes, Scan},
    http1::{
        body::{Decoded, Decoder},
        head::{Framing, Head, take_head},
        response::{ResponseFraming, ResponseHead, take_response_head},
    },
    limits,
    websocket::frame::{self, Piece, Reader, Side, Violation},
};

/// A head is read alike whole and byte by byte, and so is the body after it.
pub fn http1(bytes: &[u8]) {
    let (whole, mut rest) = head(bytes, bytes.len());
    let (piecewise, _) = head(bytes, 1);
    let told = |head: &Head| format!("{head:?}");
    assert_eq!(whole.as_ref().map(told), piecewise.as_ref().map(told), "a head that depends on its pieces");
    let framing = whole.map_or(Framing::Chunked, |head| head.framing);
    if matches!(framing, Framing::Chunked) && rest.is_empty() {
        rest = BytesMut::from(bytes);
    }
    let decoder = || Decoder::new(framing);
    assert_eq!(
        body(decoder(), &rest, rest.len()),
        body(decoder(), &rest, 1),
        "a body that depends on its pieces"
    );
}

/// A response's head is read alike whole and byte by byte, and so is the body after it. What the first byte says is
/// whether the request was a HEAD.
pub fn http1_response(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (whole, rest) = response_head(bytes, bytes.len(), first & 1 == 1);
    let (piecewise, _) = response_head(bytes, 1, first & 1 == 1);
    let told = |head: &ResponseHead| format!("{head:?}");
    assert_eq!(whole.as_ref().map(told), piecewise.as_ref().map(told), "a head that depends on its pieces");
    let framing = match whole.map(|head| head.framing) {
        Some(ResponseFraming::Empty | ResponseFraming::UntilClose) => return,
        Some(ResponseFraming::Length(length)) => Framing::Length(length),
        Some(ResponseFraming::Chunked) | None => Framing::Chunked,
    };
    let decoder = || Decoder::of_response(framing);
    assert_eq!(
        body(decoder(), &rest, rest.len()),
        body(decoder(), &rest, 1),
        "a body that depends on its pieces"
    );
}

/// What the first bytes are does not change with what follows, nor with how they came.
pub fn client_hello(bytes: &[u8]) {
    let told = |bytes: &[u8]| Scan::default().first_bytes(bytes);
    let (whole, mut scan) = (told(bytes), Scan::default());
    for end in 0..=bytes.len() {
        let bytes = bytes.get(..end).unwrap_or_default();
        let begun = told(bytes);
        assert!(begun == FirstBytes::More || begun == whole, "{begun:?} after {end} bytes, then {whole:?}");
        assert_eq!(scan.first_bytes(bytes), begun, "a hello that depends on its pieces");
        if begun != FirstBytes::More {
            return;
        }
    }
}

/// An answer is a message with the question's number, and not much longer than the question.
pub fn dns_question(bytes: &[u8]) {
    let Some(reply) = answer(bytes, &Anyone(Names::default())) else { return };
    assert!(reply.len() <= bytes.len() + 512, "{} bytes for {}", reply.len(), bytes.len());
    let read = Message::from_vec(&reply).map(|message| message.metadata.id.to_be_bytes());
    assert_eq!(read.ok().as_ref(), bytes.first_chunk(), "an answer to another question");
}

/// Frames are read alike whole and byte by byte, and what is written of them is read as the same. The first byte says
/// whose they are.
pub fn websocket(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (side, compression) = (if first & 1 == 0 { Side::Server } else { Side::Agent }, first & 2 != 0);
    let whole = pieces(side, compression, bytes, bytes.len());
    assert_eq!(whole, pieces(side, compression, bytes, 1), "pieces that depend on how they came");
    let mut written = BytesMut::new();
    for piece in &whole.0 {
        assert!(piece.payload.len() <= limits::WEBSOCKET_PIECE, "a piece of {} bytes", piece.payload.len());
        frame::put(&mut written, piece, (side == Side::Agent).then_some([1, 2, 3, 4]));
    }
    let again = pieces(side, compression, &written, written.len());
    assert_eq!((&whole.0, None), (&again.0, again.1), "pieces that are not read as they were written");
}

fn pieces(side: Side, compression: bool, bytes: &[u8], step: usize) -> (Vec<Piece>, Option<Violation>) {
    let (mut reader, mut buffer, mut taken) = (Reader::new(side, compression), BytesMut::new(), Vec::new());
    for arrived in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(arrived);
        loop {
            match reader.take(&mut buffer) {
                Ok(Some(piece)) => taken.push(piece),
                Ok(None) => break,
                Err(violation) => return (taken, Some(violation)),
            }
        }
    }
    (taken, None)
}

struct Anyone(Names);

impl Resolve for Anyone {
    fn stand_in(&self, name: &DnsName) -> Result<StandIn, NoStandIn> {
        self.0.stand_in(name, true, || true)
    }
}

fn head(bytes: &[u8], step: usize) -> (Option<Head>, BytesMut) {
    let (mut buffer, mut scanned) = (BytesMut::new(), 0);
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        match take_head(&mut buffer, &mut scanned) {
            Ok(None) => {}
            Ok(Some(head)) => return (Some(head), buffer),
            Err(_) => return (None, BytesMut::new()),
        }
    }
    (None, BytesMut::new())
}

fn response_head(bytes: &[u8], step: usize, to_head: bool) -> (Option<ResponseHead>, BytesMut) {
    let (mut buffer, mut scanned) = (BytesMut::new(), 0);
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        match take_response_head(&mut buffer, &mut scanned, to_head) {
            Ok(None) => {}
            Ok(Some(head)) => return (Some(head), buffer),
            Err(_) => return (None, BytesMut::new()),
        }
    }
    (None, BytesMut::new())
}

/// The bytes of a body, and how it ended: `None` where it is broken or cut short.
fn body(mut decoder: Decoder, bytes: &[u8], step: usize) -> Option<(Vec<u8>, String)> {
    let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
    let mut pieces = bytes.chunks(step.max(1));
    loop {
        match decoder.decode(&mut buffer).ok()? {
            Decoded::Data(data) => read.extend_from_slice(&data),
            Decoded::Trailers(trailers) => return Some((read, format!("{trailers:?}"))),
            Decoded::End => return Some((read, String::new())),
            Decoded::More => buffer.extend_from_slice(pieces.next()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [&[u8]; 10] = [
        b"\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"\0HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx: y\r\n\r\n",
        b"\x02\xc1\x03abc\x89\x01p\x01\x02de\x80\x7e\x00\x03abc\x88\x02\x03\xe8",
        b"\x01\x81\x83\x01\x02\x03\x04abc\x89\x80\x01\x02\x03\x04\x88\x82\0\0\0\0\x03\xe8",
        b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"\r\nPUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03www\x04test\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\xc0\x0c\0\x1c\0\x01",
        b"\x16\x03\x01\0\x37\x01\0\0\x33\x03\x0300000000000000000000000000000000\0\0\x02\x13\x01\x01\0\0\x08\xfe\x0d\0\x04\0\0\0\0",
    ];
    const SALT: &[u8] = b"\r\n\t :;,0aAfF\0\x01\xc0\xff\x0c\x16{%";

    #[test]
    fn mutations_of_what_is_usual() {
        // A small generator: the same mutations in every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        for seed in SEEDS {
            for _ in 0..3_000 {
                let mut bytes = seed.to_vec();
                for _ in 0..=next(4) {
                    let at = next(bytes.len());
                    match next(4) {
                        0 => bytes[at] = SALT[next(SALT.len())],
                        1 => bytes.insert(at, SALT[next(SALT.len())]),
                        2 if bytes.len() > 1 => drop(bytes.remove(at)),
                        _ => bytes[at] ^= 1 << next(8),
                    }
                }
                http1(&bytes);
                http1_response(&bytes);
                client_hello(&bytes);
                dns_question(&bytes);
                websocket(&bytes);
            }
        }
    }
}
