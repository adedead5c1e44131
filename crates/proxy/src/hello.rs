//! The first bytes of a captured connection: a TLS `ClientHello`, plain HTTP, or neither.
//!
//! Only what rustls does not tell is read here: whether the hello is whole, and whether it carries an encrypted
//! server name. What it says is then read by rustls itself, from the same bytes. A hello over
//! [`limits::SMALL_HEAD`] waits for a place, and holds it for as long as its bytes are held. Each record is looked at
//! once, however slowly it comes.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    time::{Instant, timeout_at},
};

use crate::{
    limits,
    memory::{LARGE_HEADS, Place, Places},
};

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBytes {
    /// A whole `ClientHello`.
    Tls {
        /// It has an `encrypted_client_hello` or the older `encrypted_server_name` extension.
        encrypted_name: bool,
    },
    /// The beginning of an HTTP/1 request, or the preface of HTTP/2 without TLS.
    Http,
    /// Anything else.
    Neither,
    /// More bytes are needed.
    More,
}

/// The bytes that a connection began with, until they went where they belong.
#[derive(Debug)]
pub(crate) struct First {
    bytes: BytesMut,
    /// Held while they are many.
    place: Option<Place>,
}

/// There is no place for one more large hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl First {
    /// A connection of which these were read already.
    pub(crate) fn of(bytes: BytesMut) -> Self {
        Self { bytes, place: None }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Without their place: there are few of them.
    pub(crate) fn into_bytes(self) -> BytesMut {
        self.bytes
    }

    /// Gives some of them away; with the last one the memory goes, and the place.
    pub(crate) fn move_into(&mut self, to: &mut ReadBuf<'_>) {
        let length = self.bytes.len().min(to.remaining());
        to.put_slice(self.bytes.get(..length).unwrap_or_default());
        self.bytes.advance(length);
        if self.bytes.is_empty() {
            *self = Self::of(BytesMut::new());
        }
    }

    /// Reads until it can be told what they begin. An agent that says nothing at all has `silence` for it.
    pub(crate) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        silence: Duration,
    ) -> Result<FirstBytes, Crowded> {
        self.read_within(stream, &LARGE_HEADS, silence, limits::FIRST_BYTES).await
    }

    async fn read_within(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        places: &'static Places,
        silence: Duration,
        whole: Duration,
    ) -> Result<FirstBytes, Crowded> {
        let (begun, mut scan) = (Instant::now(), Scan::default());
        loop {
            match scan.first_bytes(&self.bytes) {
                FirstBytes::More => {}
                known => return Ok(known),
            }
            let deadline = begun + if self.bytes.is_empty() { silence } else { whole };
            if self.place.is_none() && self.bytes.len() >= limits::SMALL_HEAD {
                self.place = Some(timeout_at(deadline, places.place()).await.map_err(|_| Crowded)?);
            }
            match timeout_at(deadline, stream.read_buf(&mut self.bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Ok(FirstBytes::More),
                Err(_) => return Ok(FirstBytes::Neither),
            }
        }
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// How far a `ClientHello` was looked at, so that it is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Where the first record begins that is not whole.
    record: usize,
    /// Bytes of the message before that.
    joined: usize,
    /// The first of these: kind and length.
    head: [u8; 4],
}

impl Scan {
    /// Tells what `bytes` begin; they are those of the call before, and more.
    pub(crate) fn first_bytes(&mut self, bytes: &[u8]) -> FirstBytes {
        match bytes {
            [] => FirstBytes::More,
            [HANDSHAKE] | [HANDSHAKE, 3, ..] => match self.client_hello(bytes) {
                Read::Whole(hello) => match encrypted_name(&hello) {
                    Some(encrypted_name) => FirstBytes::Tls { encrypted_name },
                    None => FirstBytes::Neither,
                },
                Read::More if bytes.len() < limits::CLIENT_HELLO => FirstBytes::More,
                Read::More | Read::Malformed => FirstBytes::Neither,
            },
            [HANDSHAKE, ..] => FirstBytes::Neither,
            _ => method(bytes),
        }
    }

    /// Goes over the records that came, however the first handshake message is split over them.
    fn client_hello(&mut self, bytes: &[u8]) -> Read {
        loop {
            let record = bytes.get(self.record..).unwrap_or_default();
            let [kind, 3, _, high, low, rest @ ..] = record else {
                let begins = record.first().is_none_or(|kind| *kind == HANDSHAKE)
                    && record.get(1).is_none_or(|version| *version == 3);
                return if begins { Read::More } else { Read::Malformed };
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if *kind != HANDSHAKE || length == 0 || length > 16_384 {
                return Read::Malformed;
            }
            let fragment = rest.get(..length).unwrap_or(rest);
            for (to, byte) in self.head.iter_mut().skip(self.joined).zip(fragment) {
                *to = *byte;
            }
            let joined = self.joined + fragment.len();
            let [kind, a, b, c] = self.head;
            if joined > 0 && kind != CLIENT_HELLO {
                return Read::Malformed;
            }
            if joined >= self.head.len() {
                let body = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
                let whole = self.head.len().saturating_add(body);
                if whole > limits::CLIENT_HELLO {
                    return Read::Malformed;
                }
                if joined >= whole {
                    return Read::Whole(join(bytes, whole));
                }
            }
            if rest.len() < length {
                return Read::More;
            }
            self.record += 5 + length;
            self.joined = joined;
        }
    }
}

/// A method of HTTP is upper-case letters (and `-`), then a space.
fn method(bytes: &[u8]) -> FirstBytes {
    let end = bytes.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
    match end.map(|end| (end, bytes.get(end))) {
        None if bytes.len() <= 24 => FirstBytes::More,
        Some((1..=24, Some(b' '))) => FirstBytes::Http,
        None | Some(_) => FirstBytes::Neither,
    }
}

enum Read {
    Whole(Vec<u8>),
    More,
    Malformed,
}

/// Joins the fragments of a message that is whole.
fn join(mut records: &[u8], whole: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(whole);
    while let [_, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let fragment = rest.get(..length).unwrap_or(rest);
        message.extend_from_slice(fragment.get(..whole - message.len()).unwrap_or(fragment));
        records = rest.get(length..).unwrap_or_default();
    }
    message
}

/// Walks to the extensions; `None` where the message is malformed.
fn encrypted_name(hello: &[u8]) -> Option<bool> {
    let rest = hello.get(4 + 2 + 32..)?;
    let rest = skip_vector8(rest)?;
    let rest = skip_vector16(rest)?;
    let rest = skip_vector8(rest)?;
    let Some((length, mut extensions)) = rest.split_first_chunk::<2>() else { return Some(false) };
    if usize::from(u16::from_be_bytes(*length)) != extensions.len() {
        return None;
    }
    let mut found = false;
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_first_chunk::<2>()?;
        let kind = u16::from_be_bytes(*kind);
        found |= matches!(kind, ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME);
        extensions = skip_vector16(rest)?;
    }
    Some(found)
}

fn skip_vector8(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first()?;
    rest.get(usize::from(*length)..)
}

fn skip_vector16(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn first_bytes(bytes: &[u8]) -> FirstBytes {
        Scan::default().first_bytes(bytes)
    }

    /// A hello with one extension, split into records of `fragment` bytes.
    fn hello(extension: u16, fragment: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut extensions = extension.to_be_bytes().to_vec();
        extensions.extend([0, 3, 1, 2, 3]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![CLIENT_HELLO, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        let mut records = Vec::new();
        for fragment in message.chunks(fragment) {
            records.extend([HANDSHAKE, 3, 1]);
            records.extend(u16::try_from(fragment.len()).unwrap().to_be_bytes());
            records.extend(fragment);
        }
        records
    }

    #[test]
    fn a_hello_split_anywhere_is_whole_at_its_end_only() {
        for fragment in [1, 3, 7, 64, 1000] {
            let bytes = hello(0, fragment);
            let mut scan = Scan::default();
            for end in 0..bytes.len() {
                assert_eq!(first_bytes(&bytes[..end]), FirstBytes::More, "{fragment} {end}");
                assert_eq!(scan.first_bytes(&bytes[..end]), FirstBytes::More, "{fragment} {end}");
            }
            assert_eq!(first_bytes(&bytes), FirstBytes::Tls { encrypted_name: false });
            assert_eq!(scan.first_bytes(&bytes), FirstBytes::Tls { encrypted_name: false });
        }
    }

    #[test]
    fn an_encrypted_name_is_seen() {
        for kind in [ENCRYPTED_CLIENT_HELLO, ENCRYPTED_SERVER_NAME] {
            assert_eq!(first_bytes(&hello(kind, 10)), FirstBytes::Tls { encrypted_name: true });
        }
    }

    #[test]
    fn http_and_neither() {
        assert_eq!(first_bytes(b"GET / HTTP/1.1\r\n"), FirstBytes::Http);
        assert_eq!(first_bytes(b"PRI * HTTP/2.0\r\n"), FirstBytes::Http);
        assert_eq!(first_bytes(b"GE"), FirstBytes::More);
        for bytes in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"\x00\x01",
            b"\x16\x02\x00",
            b"get / HTTP/1.1",
            b" GET /",
            b"\x15\x03",
        ] {
            assert_eq!(first_bytes(bytes), FirstBytes::Neither, "{bytes:?}");
        }
        assert_eq!(first_bytes(&[b'A'; 40]), FirstBytes::Neither);
    }

    /// The first `length` bytes of a hello of about 60 KiB.
    fn begun(length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in 0..4 {
            bytes.extend([HANDSHAKE, 3, 1, 0x3c, 0]);
            bytes.extend(if part == 0 { [CLIENT_HELLO, 0, 0xf0, 0] } else { [0; 4] });
            bytes.extend([0; 0x3c00 - 4]);
        }
        bytes.truncate(length);
        bytes
    }

    async fn read(places: &'static Places, bytes: &[u8]) -> (First, Result<FirstBytes, Crowded>) {
        let (mut agent, mut stream) = tokio::io::duplex(1 << 20);
        agent.write_all(bytes).await.unwrap();
        let mut first = First::of(BytesMut::with_capacity(2 << 10));
        // What is there is read, however little time there is.
        let told = first.read_within(&mut stream, places, Duration::ZERO, Duration::ZERO).await;
        (first, told)
    }

    #[tokio::test]
    async fn a_large_hello_waits_for_a_place_and_holds_it_as_long_as_its_bytes() {
        static PLACES: Places = Places::new(1);
        let (small, told) = read(&PLACES, &begun(limits::SMALL_HEAD - 1)).await;
        assert_eq!((told, small.place.is_some()), (Ok(FirstBytes::Neither), false), "its time is over");
        let (mut large, told) = read(&PLACES, &begun(40 << 10)).await;
        assert_eq!((told, large.place.is_some()), (Ok(FirstBytes::Neither), true));
        let (other, told) = read(&PLACES, &begun(40 << 10)).await;
        assert_eq!(told, Err(Crowded));
        assert!(other.bytes.capacity() <= 2 * limits::SMALL_HEAD, "{}", other.bytes.capacity());
        let mut room = vec![0; 39 << 10];
        large.move_into(&mut ReadBuf::new(&mut room));
        assert!(PLACES.try_place().is_none());
        large.move_into(&mut ReadBuf::new(&mut room));
        assert!(PLACES.try_place().is_some());
    }

    #[test]
    fn a_slow_hello_is_looked_at_once() {
        // Records of one byte, each of which comes alone.
        let mut bytes = Vec::new();
        let message = [CLIENT_HELLO, 0, 0xf0, 0].into_iter().chain([0; 10_000]);
        let mut scan = Scan::default();
        for byte in message {
            bytes.extend([HANDSHAKE, 3, 1, 0, 1, byte]);
            let before = scan.record;
            assert_eq!(scan.first_bytes(&bytes), FirstBytes::More);
            assert_eq!((before, scan.record), (bytes.len() - 6, bytes.len()));
        }
    }
}
