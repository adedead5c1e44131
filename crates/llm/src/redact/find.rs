//! The search: where in a text a value stands, in whole or begun.
//!
//! Verbatim forms are found by Aho-Corasick at the speed of memory. Any other form holds at least one
//! escape (`%XX`, `\u00XX`, `\/`, or a line break within base64): from each of these the search looks back
//! over what may stand before the first escape, and then walks forward over every way to read the text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Match, MatchKind, packed};

use super::{MARKER, needle::Needle};

/// How many line breaks (`\r`, `\n`) may stand between two characters of base64.
const BREAKS: u8 = 2;
/// The longest way to write one byte: `\u00XX`.
const LONGEST_ESCAPE: usize = 6;

pub(super) struct Finder {
    needles: Vec<Needle>,
    verbatim: Verbatim,
    /// For each byte, where it stands in which needle.
    places: Vec<Vec<Place>>,
    /// For each byte, which needles begin with it.
    starts: Vec<Vec<usize>>,
    /// The bytes that a form which has begun can hold.
    alphabet: [bool; 256],
    /// No form that has begun is longer than this.
    longest: usize,
}

#[derive(Clone, Copy)]
struct Place {
    needle: usize,
    at: usize,
}

enum Outcome {
    /// It ends before this position.
    Whole(usize),
    /// The text ends first, after so many bytes of the value.
    Begun(usize),
    Absent,
}

enum Escape {
    Byte(u8, usize),
    Cut,
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
        let (mut places, mut starts) = (vec![Vec::new(); 256], vec![Vec::new(); 256]);
        for (number, needle) in needles.iter().enumerate() {
            starts.get_mut(usize::from(*needle.bytes.first()?))?.push(number);
            for (at, byte) in needle.bytes.iter().enumerate() {
                places.get_mut(usize::from(*byte))?.push(Place { needle: number, at });
            }
        }
        let most = needles.iter().map(|needle| needle.bytes.len()).max()?;
        let longest = (most * (1 + usize::from(BREAKS)) + 1) * LONGEST_ESCAPE;
        let alphabet = alphabet(&needles);
        Some(Self { needles, verbatim, places, starts, alphabet, longest })
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

    /// From where on the text, after the last find, may be the beginning of a value.
    pub(super) fn held_from(&self, text: &[u8], found: &[Range<usize>]) -> usize {
        let last = found.last().map_or(0, |range| range.end);
        let from = text.len().saturating_sub(self.longest).max(last);
        let tail = text.get(from..).unwrap_or_default();
        let foreign = |byte: &u8| !self.alphabet.get(usize::from(*byte)).is_some_and(|known| *known);
        let from = tail.iter().rposition(foreign).map_or(from, |at| from + at + 1);
        let tail = text.get(from..).unwrap_or_default();
        for (offset, byte) in tail.iter().enumerate() {
            let at = from + offset;
            if let Some(needle) = self.begun(text, at, *byte) {
                let edge = needle.base64.is_some_and(|edges| edges.before) && at > last;
                return if edge { at - 1 } else { at };
            }
        }
        // Base64 that is whole but for the character that holds its last bits needs no holding: the find
        // covers it, and what follows alone tells at most four bits.
        text.len()
    }

    /// From where on the text is more than half of a value, and ends.
    pub(super) fn mostly_from(&self, text: &[u8]) -> Option<usize> {
        let mostly = |needle: &Needle, at| match walk(text, needle, at) {
            Outcome::Begun(read) => read > needle.bytes.len() / 2,
            Outcome::Whole(_) => true,
            Outcome::Absent => false,
        };
        (0..text.len()).find(|at| self.needles.iter().any(|needle| mostly(needle, *at)))
    }

    fn begun(&self, text: &[u8], at: usize, byte: u8) -> Option<&Needle> {
        let begins = |needle: &&Needle| matches!(walk(text, needle, at), Outcome::Begun(_));
        if byte == b'%' || byte == b'\\' {
            return self.needles.iter().find(begins);
        }
        let starts = self.starts.get(usize::from(byte))?.iter();
        starts.filter_map(|number| self.needles.get(*number)).find(begins)
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
                Escape::None | Escape::Cut => continue,
            };
            if let Some(range) = self.around(text, at, decoded) {
                past = range.end;
                found.push(range);
            }
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
            if let Outcome::Whole(end) = walk(text, needle, start) {
                return Some(with_edges(text, needle, start..end));
            }
        }
        None
    }
}

/// The needles' own bytes, and those of every escape.
fn alphabet(needles: &[Needle]) -> [bool; 256] {
    const ESCAPES: &[u8] = b"%\\\"'/0123456789abcdefABCDEFunrtbf\r\n";
    let mut alphabet = [false; 256];
    let own = needles.iter().flat_map(|needle| needle.bytes.iter());
    for byte in own.chain(ESCAPES) {
        if let Some(known) = alphabet.get_mut(usize::from(*byte)) {
            *known = true;
        }
    }
    alphabet
}

/// Reads the text from `start` in every way that spells the needle.
fn walk(text: &[u8], needle: &Needle, start: usize) -> Outcome {
    if cannot_begin(text, needle, start) {
        return Outcome::Absent;
    }
    let mut places = vec![(start, 0_u8)];
    let mut begun = false;
    for (index, wanted) in needle.bytes.iter().enumerate() {
        let breaks = if needle.base64.is_some() && index > 0 { BREAKS } else { 0 };
        let mut next = Vec::new();
        let mut reading = 0;
        while let Some((at, skipped)) = places.get(reading).copied() {
            reading += 1;
            let Some(raw) = text.get(at).copied() else {
                begun = true;
                continue;
            };
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
                Escape::Cut => begun = true,
                Escape::None => {}
            }
        }
        if next.is_empty() {
            return if begun { Outcome::Begun(index) } else { Outcome::Absent };
        }
        places = next;
    }
    places.iter().map(|(end, _)| *end).max().map_or(Outcome::Absent, Outcome::Whole)
}

/// The quick answer for nearly every place: the first two bytes are plain, and others.
fn cannot_begin(text: &[u8], needle: &Needle, start: usize) -> bool {
    let plain = |byte: u8| !matches!(byte, b'%' | b'\\' | b'\r' | b'\n');
    let differs = |at: usize| match (text.get(start + at), needle.bytes.get(at)) {
        (Some(byte), Some(wanted)) => plain(*byte) && byte != wanted,
        (_, _) => false,
    };
    differs(0) || (text.get(start).is_some_and(|byte| plain(*byte)) && differs(1))
}

fn push_once(places: &mut Vec<(usize, u8)>, place: (usize, u8)) {
    if !places.contains(&place) {
        places.push(place);
    }
}

/// What an escape at this position stands for.
fn escape(text: &[u8], at: usize) -> Escape {
    match text.get(at) {
        Some(b'%') => hex(text, at + 1, 3),
        Some(b'\\') => match text.get(at + 1) {
            None => Escape::Cut,
            Some(b'u') => match (text.get(at + 2), text.get(at + 3)) {
                (None, _) | (Some(b'0'), None) => Escape::Cut,
                (Some(b'0'), Some(b'0')) => hex(text, at + 4, 6),
                (Some(_), _) => Escape::None,
            },
            Some(b'n') => Escape::Byte(b'\n', 2),
            Some(b'r') => Escape::Byte(b'\r', 2),
            Some(b't') => Escape::Byte(b'\t', 2),
            Some(b'b') => Escape::Byte(8, 2),
            Some(b'f') => Escape::Byte(12, 2),
            Some(mark @ (b'/' | b'"' | b'\\' | b'\'')) => Escape::Byte(*mark, 2),
            Some(_) => Escape::None,
        },
        Some(_) | None => Escape::None,
    }
}

fn hex(text: &[u8], at: usize, length: usize) -> Escape {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let Some(high) = text.get(at) else { return Escape::Cut };
    let Some(high) = digit(high) else { return Escape::None };
    let Some(low) = text.get(at + 1) else { return Escape::Cut };
    digit(low).map_or(Escape::None, |low| Escape::Byte(high << 4 | low, length))
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
