//! A request written as both ends write it before they sign.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};

use super::{CONTENT, DATE, SignError, TOKEN, ToSign};

/// Whether a field belongs into a signature. Those that something on the way may change do not.
#[must_use]
pub fn is_to_be_signed(name: &HeaderName) -> bool {
    let named = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH];
    let md5 = name.as_str() == "content-md5";
    md5 || named.contains(name) || name.as_str().starts_with("x-amz-")
}

/// The fields that are signed, by name.
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(super) fn of(request: &ToSign<'_>, own: &[(HeaderName, HeaderValue)]) -> Result<Self, SignError> {
        if HeaderValue::from_str(request.host).is_err() || request.host.is_empty() {
            return Err(SignError::Host);
        }
        let mut fields = BTreeMap::new();
        fields.insert(header::HOST.to_string(), request.host.to_owned());
        let set_here = [header::HOST, header::AUTHORIZATION, DATE, TOKEN, CONTENT];
        let others = request.headers.iter().filter(|(name, _)| !set_here.contains(name));
        for (name, value) in others.chain(own.iter().map(|(name, value)| (name, value))) {
            let value = trimmed(value.as_bytes());
            let all = fields.entry(name.to_string()).and_modify(|all: &mut String| all.push(','));
            all.or_default().push_str(&value);
        }
        Ok(Self(fields))
    }

    /// As a signature lists them.
    pub(super) fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(";")
    }

    fn lines(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}:{value}\n")).collect()
    }
}

/// The whole of it.
pub(super) fn request(request: &ToSign<'_>, query: &str, fields: &Fields, is_s3: bool) -> String {
    let ToSign { method, path, payload, .. } = request;
    let path = if is_s3 { once(path) } else { twice(path) };
    let (lines, names) = (fields.lines(), fields.names());
    format!("{method}\n{path}\n{}\n{lines}\n{names}\n{}", sorted(query), payload.text())
}

/// With each run of white space as one space, and none around.
fn trimmed(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// S3: each letter of the path is encoded once, and no segment is another's step.
fn once(path: &str) -> String {
    let mut made = String::new();
    for piece in Pieces(path.as_bytes()) {
        match piece {
            Piece::Plain(b'/') => made.push('/'),
            Piece::Plain(byte) | Piece::Encoded(byte) => push(&mut made, byte),
        }
    }
    if made.is_empty() { "/".to_owned() } else { made }
}

/// All others: the path as it is on the wire, without `.`, `..` and empty segments, is encoded once more.
fn twice(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let last = if kept.is_empty() || !path.ends_with('/') { "" } else { "/" };
    let made: Vec<_> = kept.iter().map(|segment| encoded(segment.as_bytes())).collect();
    format!("/{}{last}", made.join("/"))
}

/// The query by name and value, each encoded in one way. A `+` is a space, as servers read it.
fn sorted(query: &str) -> String {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((recoded(name), recoded(value)));
    }
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn recoded(text: &str) -> String {
    let mut made = String::new();
    for piece in Pieces(text.as_bytes()) {
        match piece {
            Piece::Plain(b'+') => push(&mut made, b' '),
            Piece::Plain(byte) | Piece::Encoded(byte) => push(&mut made, byte),
        }
    }
    made
}

/// With everything encoded but letters, digits, `-`, `.`, `_` and `~`.
pub(super) fn encoded(bytes: &[u8]) -> String {
    let mut made = String::new();
    for byte in bytes {
        push(&mut made, *byte);
    }
    made
}

fn push(made: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        made.push(char::from(byte));
    } else {
        made.push_str(&format!("%{byte:02X}"));
    }
}

/// A letter of a text that may be percent-encoded.
enum Piece {
    Plain(u8),
    Encoded(u8),
}

struct Pieces<'a>(&'a [u8]);

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(Piece::Encoded(high * 16 + low));
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(Piece::Plain(*first))
    }
}
