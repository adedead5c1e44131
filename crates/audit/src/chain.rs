//! The chain: each line ends with the hash before it and its own.
//!
//! A line is the event's JSON with `prev` and `hash` as its last two keys. `hash` is the SHA-256 of the line
//! without `hash` (`{…,"prev":"…"}`), so that any program can check it; the first `prev` is 64 zeros.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Entry, Event};

/// The hash of a line, 32 bytes, written as hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// Not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl Hash {
    /// What the first line of a chain has as its `prev`.
    pub const GENESIS: Hash = Hash([0; 32]);

    pub(crate) fn of(unsealed: &[u8]) -> Self {
        Self(Sha256::digest(unsealed).into())
    }
}

impl Hash {
    /// Appends its digits: what [`Display`](fmt::Display) writes, without its machinery. Every event needs two.
    fn push_to(self, line: &mut String) {
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        line.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = String::with_capacity(DIGITS);
        self.push_to(&mut digits);
        f.write_str(&digits)
    }
}

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits: &[u8; DIGITS] = text.as_bytes().try_into().map_err(|_| NotAHash)?;
        let (mut hash, mut all) = ([0; 32], 0);
        for (byte, [high, low]) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
            let (high, low) = (value(*high), value(*low));
            *byte = high << 4 | low;
            all |= high | low;
        }
        // One look at the end instead of one at each digit.
        if all > 0xf { Err(NotAHash) } else { Ok(Self(hash)) }
    }
}

/// The value of a digit; more than 15 where it is none.
const fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => u8::MAX,
    }
}

impl TryFrom<String> for Hash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// The end of a chain, to which the next event is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: Hash,
}

impl Chain {
    /// An empty chain.
    pub const NEW: Chain = Chain { head: Hash::GENESIS };

    /// A chain that goes on after the line with this hash.
    #[must_use]
    pub const fn after(head: Hash) -> Self {
        Self { head }
    }

    /// The hash of the last line.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.head
    }

    /// Links an event: its line (without the line's end), and the chain moves on.
    pub fn link(&mut self, event: &Event) -> String {
        let (line, next) = self.linked(event);
        *self = next;
        line
    }

    /// The line, and the chain as it is once that line is written.
    #[must_use]
    pub fn linked(self, event: &Event) -> (String, Chain) {
        let mut line = String::with_capacity(LINE);
        let next = self.link_onto(event, &mut line);
        (line, next)
    }

    /// Appends the line (without its end) to `to`; the chain as it is once that line is written.
    #[must_use]
    pub fn link_onto(self, event: &Event, to: &mut String) -> Chain {
        let start = to.len();
        event.push_line(to);
        self.seal(start, to)
    }

    /// The same for an event that is written out already.
    #[must_use]
    pub fn take_over(self, entry: &Entry, to: &mut String) -> Chain {
        let start = to.len();
        to.push_str(&entry.text);
        self.seal(start, to)
    }

    /// Makes an event's text, which stands at the end of `to`, a line of the chain.
    fn seal(self, start: usize, to: &mut String) -> Chain {
        to.pop();
        to.push_str(PREV);
        self.head.push_to(to);
        to.push_str("\"}");
        let head = Hash::of(to.as_bytes().get(start..).unwrap_or_default());
        to.pop();
        to.push_str(HASH);
        head.push_to(to);
        to.push_str("\"}");
        Chain { head }
    }
}

const PREV: &str = r#","prev":""#;
const HASH: &str = r#","hash":""#;
const DIGITS: usize = 64;
/// As much as most lines need.
const LINE: usize = 768;

/// Takes a chained line apart: the event alone, and `(prev, hash)`. None when it has no such end.
pub(crate) fn split(line: &str) -> Option<(String, (Hash, Hash))> {
    let (rest, hash) = take(line, HASH)?;
    let (body, prev) = take_inner(rest, PREV)?;
    let mut event = String::with_capacity(body.len() + 1);
    event.push_str(body);
    event.push('}');
    Some((event, (prev, hash)))
}

/// The hash that a chained line ought to have, from all of it but `hash`.
pub(crate) fn expected(line: &str) -> Option<Hash> {
    let (rest, _) = take(line, HASH)?;
    Some(Hash::of(format!("{rest}}}").as_bytes()))
}

fn take<'a>(line: &'a str, key: &str) -> Option<(&'a str, Hash)> {
    take_inner(line.strip_suffix('}')?, key)
}

fn take_inner<'a>(text: &'a str, key: &str) -> Option<(&'a str, Hash)> {
    let text = text.strip_suffix('"')?;
    let at = text.len().checked_sub(DIGITS)?;
    let (rest, digits) = text.split_at_checked(at)?;
    Some((rest.strip_suffix(key)?, digits.parse().ok()?))
}
