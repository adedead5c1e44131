//! A string as it reads, and where in its event each byte of it stands.

use std::{borrow::Cow, ops::Range};

/// A string of an event.
pub(super) struct Text<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where the string begins in its event.
    at: usize,
    /// With escapes: where each byte's writing begins, and where the last one ends.
    starts: Option<Vec<usize>>,
}

impl<'a> Text<'a> {
    /// As it is written, at this place of its event.
    pub(super) fn plain(raw: &'a [u8], at: usize) -> Self {
        Self { bytes: Cow::Borrowed(raw), at, starts: None }
    }

    /// What stands between the quotes of a JSON string. What is no escape stands for itself.
    pub(super) fn json(raw: &'a [u8], at: usize) -> Self {
        if memchr::memchr(b'\\', raw).is_none() {
            return Self::plain(raw, at);
        }
        let (mut bytes, mut starts) = (Vec::with_capacity(raw.len()), Vec::with_capacity(raw.len() + 1));
        let mut from = 0;
        while let Some(rest) = raw.get(from..).filter(|rest| !rest.is_empty()) {
            let mut buffer = [0; 4];
            let (told, length) = unit(rest, &mut buffer);
            starts.extend(std::iter::repeat_n(from, told.len()));
            bytes.extend_from_slice(told);
            from += length;
        }
        starts.push(raw.len());
        Self { bytes: Cow::Owned(bytes), at, starts: Some(starts) }
    }

    /// Where in the event the byte is written.
    pub(super) fn place(&self, byte: usize) -> Range<usize> {
        let Some(starts) = &self.starts else { return self.at + byte..self.at + byte + 1 };
        let mut places = starts.iter().skip(byte);
        let start = places.next().copied().unwrap_or_default();
        let end = places.copied().find(|end| *end > start).unwrap_or(start);
        self.at + start..self.at + end
    }
}

/// What the first character or escape stands for, and how long it is.
fn unit<'a>(rest: &'a [u8], buffer: &'a mut [u8; 4]) -> (&'a [u8], usize) {
    let simple: &[u8] = match rest {
        [b'\\', b'n', ..] => b"\n",
        [b'\\', b'r', ..] => b"\r",
        [b'\\', b't', ..] => b"\t",
        [b'\\', b'b', ..] => b"\x08",
        [b'\\', b'f', ..] => b"\x0c",
        [b'\\', b'u', ..] => {
            if let Some((character, length)) = unicode(rest) {
                return (character.encode_utf8(buffer).as_bytes(), length);
            }
            b"\\"
        }
        [b'\\', mark @ (b'"' | b'\\' | b'/'), ..] => std::slice::from_ref(mark),
        _ => return (rest.get(..1).unwrap_or_default(), 1),
    };
    let length = if simple == b"\\" && rest.get(1) != Some(&b'\\') { 1 } else { 2 };
    (simple, length)
}

fn unicode(rest: &[u8]) -> Option<(char, usize)> {
    let first = code_unit(rest)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = rest.get(6..).and_then(code_unit).filter(|low| (0xdc00..0xe000).contains(low));
    let pair =
        second.filter(|_| first < 0xdc00).map(|low| 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00));
    match pair.and_then(char::from_u32) {
        Some(character) => Some((character, 12)),
        None => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

fn code_unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
