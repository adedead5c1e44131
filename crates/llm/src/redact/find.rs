//! The search: where in a text a value stands, in whole.
//!
//! Verbatim forms are found by Aho-Corasick at the speed of memory. Any other form holds at least one
//! escape (`%XX`, `\u00XX`, `\/`, `+` for a space, or a line break within base64): from each of these the search looks back
//! over what may stand before the first escape, and then walks forward over every way to read the text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Match, MatchKind, packed};

use super::{
    MARKER,
    hold::{BREAKS, Hold},
    needle::Needle,
};

pub(super) struct Finder {
    needles: Vec<Needle>,
    verbatim: Verbatim,
    /// For each byte, where it stands in which needle.
    places: Vec<Vec<Place>>,
    /// What is held of a text that goes on.
    hold: Hold,
    /// A space may come as `+`.
    spaces: bool,
}

#[derive(Clone, Copy)]
struct Place {
    needle: usize,
    at: usize,
}

enum Escape {
    Byte(u8, usize),
    None,
}

/// Finds needles as they are: by vectors where they are few, as they nearly always are.
enum Verbatim {
    Few(Box<packed::Searcher>),
    Many(Box<AhoCorasick>),
}

impl Verbatim {
    fn new<'a>(needles: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let few = packed::Config::new().match_kind(packed::MatchKind::LeftmostLongest).builder();
        if let Some(searcher) = { few }.extend(needles.clone()).build() {
            return Some(Self::Few(Box::new(searcher)));
        }
        let many = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(needles);
        Some(Self::Many(Box::new(many.ok()?)))
    }

    fn each(&self, text: &[u8], take: impl FnMut(Match)) {
        match self {
            Self::Few(searcher) => searcher.find_iter(text).for_each(take),
            Self::Many(automaton) => automaton.find_iter(text).for_each(take),
        }
    }
}

impl Finder {
    pub(super) fn new(needles: Vec<Needle>) -> Option<Self> {
        let verbatim = Verbatim::new(needles.iter().map(|needle| needle.bytes.as_slice()))?;
        let mut places = vec![Vec::new(); 256];
        for (number, needle) in needles.iter().enumerate() {
            for (at, byte) in needle.bytes.iter().enumerate() {
                places.get_mut(usize::from(*byte))?.push(Place { needle: number, at });
            }
        }
        let hold = Hold::new(&needles)?;
        let spaces = needles.iter().any(|needle| needle.bytes.contains(&b' '));
        Some(Self { needles, verbatim, places, hold, spaces })
    }

    /// What is held of a text that goes on.
    pub(super) const fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Where values stand, in order, none touching another's bytes.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        self.verbatim.each(text, |hit| {
            if let Some(needle) = self.needles.get(hit.pattern().as_usize()) {
                found.push(with_edges(text, needle, hit.start()..hit.end()));
            }
        });
        self.find_escaped(text, &mut found);
        merge(found)
    }

    fn find_escaped(&self, text: &[u8], found: &mut Vec<Range<usize>>) {
        let mut past = 0;
        for at in memchr::memchr3_iter(b'%', b'\\', b'\n', text) {
            if at < past {
                continue;
            }
            let decoded = match escape(text, at) {
                Escape::Byte(byte, _) => byte,
                Escape::None if text.get(at) == Some(&b'\n') => b'\n',
                Escape::None => continue,
            };
            if let Some(range) = self.around(text, at, decoded) {
                past = range.end;
                found.push(range);
            }
        }
        if self.spaces {
            found.extend(memchr::memchr_iter(b'+', text).filter_map(|at| self.around(text, at, b' ')));
        }
    }

    /// A value whose first escape is at this position.
    fn around(&self, text: &[u8], at: usize, decoded: u8) -> Option<Range<usize>> {
        let is_break = matches!(decoded, b'\n' | b'\r');
        let direct = self.places.get(usize::from(decoded))?.iter().copied();
        // `\r\n`: the break that `\n` ends may begin a character earlier, which the walk reads by itself.
        let carriage = at.checked_sub(1).filter(|before| is_break && text.get(*before) == Some(&b'\r'));
        let end = carriage.unwrap_or(at);
        let before = end.checked_sub(1).filter(|_| is_break).and_then(|before| text.get(before));
        let broken = before.and_then(|byte| self.places.get(usize::from(*byte))).into_iter().flatten();
        let broken = broken.map(|place| Place { needle: place.needle, at: place.at + 1 });
        for (place, end) in direct.map(|place| (place, at)).chain(broken.map(|place| (place, end))) {
            let Some(needle) = self.needles.get(place.needle) else { continue };
            let Some(start) = end.checked_sub(place.at) else { continue };
            let [ahead, wanted] = [text.get(start..end), needle.bytes.get(..place.at)];
            // Its last byte tells nearly always.
            if ahead.and_then(<[u8]>::last) != wanted.and_then(<[u8]>::last) || ahead != wanted {
                continue;
            }
            if let Some(end) = walk(text, needle, start) {
                return Some(with_edges(text, needle, start..end));
            }
        }
        None
    }
}

/// Reads the text from `start` in every way that spells the needle: where it ends.
fn walk(text: &[u8], needle: &Needle, start: usize) -> Option<usize> {
    if cannot_begin(text, needle, start) {
        return None;
    }
    let mut places = vec![(start, 0)];
    for (index, wanted) in needle.bytes.iter().enumerate() {
        let breaks = if needle.base64.is_some() && index > 0 { BREAKS } else { 0 };
        let mut next = Vec::new();
        let mut reading = 0;
        while let Some((at, skipped)) = places.get(reading).copied() {
            reading += 1;
            let Some(raw) = text.get(at).copied() else { continue };
            let mut read = |byte: u8, length: usize| {
                if byte == *wanted {
                    push_once(&mut next, (at + length, 0));
                } else if skipped < breaks && matches!(byte, b'\r' | b'\n') {
                    push_once(&mut places, (at + length, skipped + 1));
                }
            };
            read(raw, 1);
            match escape(text, at) {
                Escape::Byte(byte, length) => read(byte, length),
                // As forms are encoded.
                Escape::None if raw == b'+' => read(b' ', 1),
                Escape::None => {}
            }
        }
        if next.is_empty() {
            return None;
        }
        places = next;
    }
    places.iter().map(|(end, _)| *end).max()
}

/// The quick answer for nearly every place: the first two bytes are plain, and others.
fn cannot_begin(text: &[u8], needle: &Needle, start: usize) -> bool {
    let plain = |byte: u8| !matches!(byte, b'%' | b'\\' | b'\r' | b'\n' | b'+');
    let differs = |at: usize| match (text.get(start + at), needle.bytes.get(at)) {
        (Some(byte), Some(wanted)) => plain(*byte) && byte != wanted,
        (_, _) => false,
    };
    differs(0) || (text.get(start).is_some_and(|byte| plain(*byte)) && differs(1))
}

fn push_once(places: &mut Vec<(usize, usize)>, place: (usize, usize)) {
    if !places.contains(&place) {
        places.push(place);
    }
}

/// What an escape at this position stands for.
fn escape(text: &[u8], at: usize) -> Escape {
    match text.get(at) {
        Some(b'%') => hex(text, at + 1, 3),
        Some(b'\\') => match text.get(at + 1) {
            Some(b'u') if text.get(at + 2..at + 4) == Some(b"00") => hex(text, at + 4, 6),
            Some(b'n') => Escape::Byte(b'\n', 2),
            Some(b'r') => Escape::Byte(b'\r', 2),
            Some(b't') => Escape::Byte(b'\t', 2),
            Some(b'b') => Escape::Byte(8, 2),
            Some(b'f') => Escape::Byte(12, 2),
            Some(mark @ (b'/' | b'"' | b'\\' | b'\'')) => Escape::Byte(*mark, 2),
            Some(_) | None => Escape::None,
        },
        Some(_) | None => Escape::None,
    }
}

fn hex(text: &[u8], at: usize, length: usize) -> Escape {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (text.get(at).and_then(digit), text.get(at + 1).and_then(digit)) {
        (Some(high), Some(low)) => Escape::Byte(high << 4 | low, length),
        (_, _) => Escape::None,
    }
}

/// The characters of base64 around a find that hold bits of the value.
fn with_edges(text: &[u8], needle: &Needle, range: Range<usize>) -> Range<usize> {
    let Some(edges) = needle.base64 else { return range };
    let is_base64 = |at: usize| {
        text.get(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_'))
    };
    let before = edges.before && range.start.checked_sub(1).is_some_and(is_base64);
    let after = edges.after && is_base64(range.end);
    range.start - usize::from(before)..range.end + usize::from(after)
}

fn merge(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The text with a marker in place of each find; where the length must stay, the marker is as long as the find.
pub(super) fn replace(text: &[u8], found: &[Range<usize>], keeps_length: bool) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let mut past = 0;
    for range in found {
        clean.extend_from_slice(text.get(past..range.start).unwrap_or_default());
        if keeps_length {
            let filled = MARKER.bytes().chain(std::iter::repeat(b'*'));
            clean.extend(filled.take(range.len()));
        } else {
            clean.extend_from_slice(MARKER.as_bytes());
        }
        past = range.end;
    }
    clean.extend_from_slice(text.get(past..).unwrap_or_default());
    clean
}
