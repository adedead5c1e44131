//! The first bytes of a captured connection: a TLS `ClientHello`, plain HTTP, or neither.
//!
//! Only what rustls does not tell is read here: whether the hello is whole, and whether it carries an encrypted
//! server name. What it says is then read by rustls itself, from the same bytes.

use crate::limits;

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

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// Tells what `bytes` begin.
pub(crate) fn first_bytes(bytes: &[u8]) -> FirstBytes {
    match bytes {
        [] => FirstBytes::More,
        [HANDSHAKE] | [HANDSHAKE, 3, ..] => match client_hello(bytes) {
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

/// Joins the fragments of the first handshake message, however they are split over records.
fn client_hello(mut bytes: &[u8]) -> Read {
    let mut message = Vec::new();
    loop {
        let [kind, 3, _, high, low, rest @ ..] = bytes else {
            let begins =
                bytes.first().is_none_or(|kind| *kind == HANDSHAKE) && bytes.get(1).is_none_or(|v| *v == 3);
            return if begins { Read::More } else { Read::Malformed };
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || length == 0 || length > 16_384 {
            return Read::Malformed;
        }
        let fragment = rest.get(..length).unwrap_or(rest);
        message.extend_from_slice(fragment);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Read::Malformed;
        }
        if let Some([_, a, b, c]) = message.first_chunk::<4>() {
            let whole = 4 + usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if whole > limits::CLIENT_HELLO {
                return Read::Malformed;
            }
            if message.len() >= whole {
                message.truncate(whole);
                return Read::Whole(message);
            }
        }
        let Some(next) = rest.get(length..) else { return Read::More };
        bytes = next;
    }
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
    use super::*;

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
            for end in 0..bytes.len() {
                assert_eq!(first_bytes(&bytes[..end]), FirstBytes::More, "{fragment} {end}");
            }
            assert_eq!(first_bytes(&bytes), FirstBytes::Tls { encrypted_name: false });
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
}
