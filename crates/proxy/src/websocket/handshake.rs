//! The opening handshake (RFC 6455, 4; RFC 8441 for HTTP/2): what the agent asks, what is asked upstream, and what
//! may come back.
//!
//! The two sides shake hands apart: the key that goes upstream is ours, and so is the answer that the agent gets.
//! Of extensions only `permessage-deflate` is known, and passed on in the agent's own words.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::http1::head::{Framing, Head, Version, is_token};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");
const DEFLATE: &[u8] = b"permessage-deflate";

/// An agent that asks for a WebSocket.
#[derive(Debug)]
pub(crate) struct Ask {
    /// What it expects as `Sec-WebSocket-Accept`; nothing over HTTP/2.
    accept: Option<HeaderValue>,
}

impl Ask {
    /// What a head of HTTP/1 asks for: an error is what makes it ambiguous. Any other upgrade is no question to us:
    /// it is not passed on.
    pub(crate) fn of(head: &Head) -> Result<Option<Self>, &'static str> {
        let upgrades = lists(&head.headers, &header::UPGRADE, b"websocket")
            && lists(&head.headers, &header::CONNECTION, b"upgrade");
        if !upgrades || head.method != Method::GET || head.version != Version::Http11 {
            return Ok(None);
        }
        if head.framing != Framing::Empty {
            return Err("a request for a WebSocket has a body");
        }
        check_version(&head.headers)?;
        let key = only(&head.headers, &header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
        let key = key.ok_or("its `Sec-WebSocket-Key` is not one of 16 bytes")?;
        Ok(Some(Self { accept: Some(accept(key)) }))
    }

    /// What an extended `CONNECT` of HTTP/2 for this protocol asks for.
    pub(crate) fn of_connect(protocol: &str, headers: &HeaderMap) -> Result<Self, &'static str> {
        if protocol != "websocket" {
            return Err("its `:protocol` is not `websocket`");
        }
        check_version(headers)?;
        Ok(Self { accept: None })
    }

    /// Whether it came over HTTP/2, where success is 200 and nothing is accepted by a key.
    pub(crate) const fn is_http2(&self) -> bool {
        self.accept.is_none()
    }

    /// The fields that the agent is answered with, made of the server's.
    pub(crate) fn answer(&self, mut server: HeaderMap) -> HeaderMap {
        server.remove(header::SEC_WEBSOCKET_ACCEPT);
        if let Some(accept) = &self.accept {
            server.insert(header::UPGRADE, WEBSOCKET);
            server.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
        }
        server
    }
}

/// What was asked of a server, to hold its answer against.
#[derive(Debug)]
pub(crate) struct Asked {
    accept: HeaderValue,
    deflate: bool,
    protocols: Vec<Vec<u8>>,
}

/// What server and agent agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Messages may be compressed.
    pub(crate) compression: bool,
}

/// Why an answer of 101 opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    /// Another protocol, or none.
    #[error("it switches to another protocol than `websocket`")]
    Protocol,
    /// It does not know the key.
    #[error("its `Sec-WebSocket-Accept` is not the one of the key")]
    Accept,
    /// An extension that was not asked for.
    #[error("it turns on an extension that was not asked for")]
    Extension,
    /// A subprotocol that was not asked for.
    #[error("it chooses a subprotocol that was not asked for")]
    Subprotocol,
    /// A body before the frames.
    #[error("it says that a body follows")]
    Body,
}

impl Asked {
    /// Turns the agent's fields, without those of one hop, into what is asked upstream. No extension is asked for
    /// where what comes back has to be read.
    pub(crate) fn put(headers: &mut HeaderMap, key: [u8; 16], extensions: bool) -> Self {
        let offered = offers(headers);
        for name in [
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_ACCEPT,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_EXTENSIONS,
        ] {
            headers.remove(name);
        }
        let offered = offered.filter(|_| extensions);
        let deflate = offered.is_some();
        if let Some(offered) = offered {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offered);
        }
        let key = STANDARD.encode(key);
        let accept = accept(key.as_bytes());
        if let Ok(key) = HeaderValue::from_str(&key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::CONNECTION, UPGRADE);
        let protocols = elements(headers, &header::SEC_WEBSOCKET_PROTOCOL).map(<[u8]>::to_vec).collect();
        Self { accept, deflate, protocols }
    }

    /// What an answer of 101 agrees on.
    pub(crate) fn check(&self, answer: &HeaderMap) -> Result<Agreed, BadAnswer> {
        let upgrade = only(answer, &header::UPGRADE);
        if !upgrade.is_some_and(|named| named.as_bytes().eq_ignore_ascii_case(b"websocket"))
            || !lists(answer, &header::CONNECTION, b"upgrade")
        {
            return Err(BadAnswer::Protocol);
        }
        if only(answer, &header::SEC_WEBSOCKET_ACCEPT) != Some(&self.accept) {
            return Err(BadAnswer::Accept);
        }
        if answer.contains_key(header::TRANSFER_ENCODING)
            || answer.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
        {
            return Err(BadAnswer::Body);
        }
        let mut chosen = answer.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        match (chosen.next(), chosen.next()) {
            (None, _) => {}
            (Some(one), None) if self.protocols.iter().any(|asked| asked == one.as_bytes()) => {}
            (Some(_), _) => return Err(BadAnswer::Subprotocol),
        }
        let mut extensions = elements(answer, &header::SEC_WEBSOCKET_EXTENSIONS);
        match (extensions.next(), extensions.next()) {
            (None, _) => Ok(Agreed { compression: false }),
            (Some(one), None) if self.deflate && is_deflate(one) => Ok(Agreed { compression: true }),
            (Some(_), _) => Err(BadAnswer::Extension),
        }
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), &'static str> {
    let version = only(headers, &header::SEC_WEBSOCKET_VERSION);
    let known = version.is_some_and(|version| version.as_bytes() == b"13");
    if known { Ok(()) } else { Err("its `Sec-WebSocket-Version` is not 13") }
}

/// The answer to a key.
fn accept(key: &[u8]) -> HeaderValue {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    let text = STANDARD.encode(hash.finish());
    // Base64 is always a field's value.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter();
    let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(wanted))
}

/// The offers of `permessage-deflate`, as the agent wrote them.
fn offers(headers: &HeaderMap) -> Option<HeaderValue> {
    let offers: Vec<&[u8]> =
        elements(headers, &header::SEC_WEBSOCKET_EXTENSIONS).filter(|element| is_deflate(element)).collect();
    (!offers.is_empty()).then(|| HeaderValue::from_bytes(&offers.join(&b", "[..])).ok()).flatten()
}

/// `permessage-deflate`, and parameters of one plain spelling.
fn is_deflate(element: &[u8]) -> bool {
    let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let plain = |text: &[u8]| {
        let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
        !text.is_empty() && text.iter().copied().all(is_token)
    };
    parts.next() == Some(DEFLATE) && parts.all(|part| part.splitn(2, |byte| *byte == b'=').all(plain))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http1::head::take_head;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn ask(fields: &str) -> Result<Option<Ask>, &'static str> {
        let text = format!("GET /live HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
        Ask::of(&take_head(&mut BytesMut::from(text.as_str()), &mut 0).unwrap().unwrap())
    }

    fn usual(more: &str) -> String {
        format!(
            "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: {KEY}\r\n{more}"
        )
    }

    #[test]
    fn the_example_of_the_standard() {
        let ask = ask(&usual("")).unwrap().unwrap();
        assert_eq!(ask.accept.as_ref().unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answer = ask.answer(HeaderMap::new());
        assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_question_and_what_is_ambiguous() {
        assert!(ask("upgrade: h2c\r\nconnection: upgrade\r\n").unwrap().is_none());
        assert!(ask("upgrade: websocket\r\n").unwrap().is_none());
        for fields in [
            usual("content-length: 3\r\n"),
            usual("transfer-encoding: chunked\r\n"),
            usual("").replace("13", "8"),
            usual("").replace(KEY, "c2hvcnQ="),
            usual(&format!("sec-websocket-key: {KEY}\r\n")),
            usual("").replace(&format!("sec-websocket-key: {KEY}\r\n"), ""),
        ] {
            assert!(ask(&fields).is_err(), "{fields}");
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
            })
            .collect()
    }

    #[test]
    fn answers_are_held_against_what_was_asked() {
        let mut sent = headers(&[
            ("sec-websocket-extensions", "x-webkit, permessage-deflate; client_max_window_bits"),
            ("sec-websocket-protocol", "chat, mqtt"),
            ("sec-websocket-key", "the agent's"),
        ]);
        let asked = Asked::put(&mut sent, [7; 16], true);
        assert_eq!(sent["sec-websocket-extensions"], "permessage-deflate; client_max_window_bits");
        let accept = asked.accept.to_str().unwrap().to_owned();
        let good = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", accept.as_str()),
            ("sec-websocket-protocol", "mqtt"),
            ("sec-websocket-extensions", "permessage-deflate; server_max_window_bits=\"10\""),
        ];
        assert_eq!(asked.check(&headers(&good)), Ok(Agreed { compression: true }));
        for (at, value, wanted) in [
            (0, "h2c", BadAnswer::Protocol),
            (1, "close", BadAnswer::Protocol),
            (2, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", BadAnswer::Accept),
            (3, "other", BadAnswer::Subprotocol),
            (4, "x-webkit", BadAnswer::Extension),
            (4, "permessage-deflate, permessage-deflate", BadAnswer::Extension),
        ] {
            let mut bad = good;
            bad[at].1 = value;
            assert_eq!(asked.check(&headers(&bad)), Err(wanted), "{value}");
        }
        let mut bodied = headers(&good);
        bodied.insert("content-length", HeaderValue::from_static("5"));
        assert_eq!(asked.check(&bodied), Err(BadAnswer::Body));
    }

    #[test]
    fn no_extension_where_the_answer_has_to_be_read() {
        let mut sent = headers(&[("sec-websocket-extensions", "permessage-deflate")]);
        let asked = Asked::put(&mut sent, [7; 16], false);
        assert!(!sent.contains_key("sec-websocket-extensions") && !asked.deflate);
    }
}
