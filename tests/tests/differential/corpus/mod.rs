//! The corpus: every case has a name, the bytes of one connection, and what must come of it.
//!
//! `{id}` stands for the case, `{host}` for the server. A case whose outcome is up to the proxy says [`Wanted::Either`]:
//! that what was judged is what was seen holds for it as for every other.

mod bodies;
mod fields;
mod http2;
mod lines;
mod targets;

/// What must come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing reaches the server.
    Refused,
    /// So many requests, with bodies of these lengths.
    Sent(Vec<u64>),
    /// Refused, or sent as it was judged.
    Either,
}

/// The bytes of one connection.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub http2: bool,
    /// How many answers end it.
    pub answers: usize,
    pub wanted: Wanted,
}

/// One request that is sent without a body.
pub fn sent() -> Wanted {
    Wanted::Sent(vec![0])
}

/// A case of HTTP/1 with one answer.
pub fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, wanted: Wanted) -> Case {
    let bytes = bytes.into();
    // A head without an end is waited for, unless the connection ends.
    let whole = [&b"\n\r\n"[..], b"\n\n"].iter().any(|end| bytes.windows(end.len()).any(|part| part == *end));
    let answers = match &wanted {
        Wanted::Sent(bodies) => bodies.len(),
        Wanted::Refused | Wanted::Either => usize::from(whole),
    };
    Case { name: name.into(), bytes, http2: false, answers, wanted }
}

/// Lines as a head, `|` for a line's end; `bytes` after it.
pub fn head(lines: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = lines.replace('|', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Everything, in order.
pub fn all() -> Vec<Case> {
    [lines::cases(), targets::cases(), fields::cases(), bodies::cases(), http2::cases()].concat()
}

impl Case {
    /// For one server.
    pub fn for_host(&self, id: &str, host: &str) -> Vec<u8> {
        let bytes = replace(&self.bytes, b"{id}", id.as_bytes());
        if self.http2 { http2::encode(&bytes, host) } else { replace(&bytes, b"{host}", host.as_bytes()) }
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        if text[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}
