//! Texts, followed from event to event, and the events held until it is known what they tell.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;

use super::{Unfollowable, lines::Unit, scan::Key, text::Text};
use crate::redact::{MARKER, find::Finder};

/// From so many bytes on the beginning of a value is held. Fewer are told apart from ordinary text too seldom,
/// and pass; when the value goes on it is found with them, and what goes on is taken out: no more than these
/// three bytes ever pass.
const HELD_FROM: usize = 4;
/// How many bytes and units are held beside the last unit.
const MOST_BYTES: usize = 256 * 1024;
const MOST_UNITS: usize = 1024;
/// How many texts may end as a value begins.
const MOST_TEXTS: usize = 4096;

pub(super) struct Follower {
    finder: Arc<Finder>,
    tails: HashMap<Key, Tail>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The number of the first unit held.
    first: u64,
}

/// The end of a text that may be the beginning of a value.
#[derive(Default)]
struct Tail {
    text: Vec<u8>,
    /// Where each byte of it stands.
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    unit: u64,
    range: Range<usize>,
}

struct Held {
    bytes: Bytes,
    cuts: Vec<Cut>,
}

/// What is taken out of a unit.
struct Cut {
    range: Range<usize>,
    /// With the marker in its place: for the first piece of a value.
    marked: bool,
}

impl Follower {
    pub(super) fn new(finder: Arc<Finder>) -> Self {
        Self { finder, tails: HashMap::new(), held: VecDeque::new(), held_bytes: 0, first: 0 }
    }

    /// Takes the next unit, and adds to `out` what may pass by now.
    pub(super) fn follow(&mut self, unit: Unit, out: &mut Vec<u8>) -> Result<(), Unfollowable> {
        let Unit { bytes, texts } = unit;
        if texts.is_empty() && self.held.is_empty() {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        let mut cuts = Vec::new();
        for found in texts {
            let raw = bytes.get(found.range.clone()).unwrap_or_default();
            let at = found.range.start;
            let text = if found.json { Text::json(raw, at) } else { Text::plain(raw, at) };
            for key in found.keys.into_iter().flatten() {
                self.go_on(key, &text, &mut cuts);
            }
        }
        self.held_bytes += bytes.len();
        self.held.push_back(Held { bytes, cuts });
        if self.tails.len() > MOST_TEXTS {
            return Err(Unfollowable::TooManyTexts);
        }
        self.release(self.needed_from(), out);
        while self.held.len() > 1 && (self.held.len() > MOST_UNITS || self.held_bytes > MOST_BYTES) {
            self.give_up_first();
            self.release(self.needed_from(), out);
        }
        Ok(())
    }

    /// Nothing more comes: what has begun is no value, but most of one is kept back as well.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        for (_, tail) in std::mem::take(&mut self.tails) {
            if let Some(from) = self.finder.mostly_from(&tail.text) {
                self.cut(tail.places.get(from..).unwrap_or_default(), &mut Vec::new());
            }
        }
        self.release(u64::MAX, out);
    }

    /// A text goes on in the unit that comes after those held; what is cut from that goes into `cuts`.
    fn go_on(&mut self, key: Key, text: &Text<'_>, cuts: &mut Vec<Cut>) {
        if text.bytes.is_empty() {
            return;
        }
        let tail = self.tails.remove(&key).unwrap_or_default();
        let before = tail.text.len();
        let mut joined = tail.text;
        joined.extend_from_slice(&text.bytes);
        let unit = self.first + self.held.len() as u64;
        let places = |range: Range<usize>| -> Vec<Place> {
            let told = tail.places.get(range.start.min(before)..range.end.min(before)).unwrap_or_default();
            let new = range.start.max(before)..range.end.max(before);
            let new = new.map(|byte| Place { unit, range: text.place(byte - before) });
            told.iter().cloned().chain(new).collect()
        };
        let found = self.finder.find(&joined);
        for range in &found {
            self.cut(&places(range.clone()), cuts);
        }
        let from = self.finder.held_from(&joined, &found);
        if from < joined.len() {
            let places = places(from..joined.len());
            self.tails.insert(key, Tail { text: joined.split_off(from), places });
        }
    }

    /// Takes bytes out, wherever they still can be.
    fn cut(&mut self, places: &[Place], newest: &mut Vec<Cut>) {
        let mut marked = true;
        for Place { unit, range } in places {
            let Some(number) = unit.checked_sub(self.first) else { continue };
            let held = usize::try_from(number).ok().and_then(|number| self.held.get_mut(number));
            let cuts = held.map_or(&mut *newest, |held| &mut held.cuts);
            match cuts.last_mut() {
                Some(last) if !marked && last.range.end == range.start => last.range.end = range.end,
                _ => cuts.push(Cut { range: range.clone(), marked }),
            }
            marked = false;
        }
    }

    /// The first unit that cannot go yet.
    fn needed_from(&self) -> u64 {
        let begun = self.tails.values().filter(|tail| tail.text.len() >= HELD_FROM);
        let units = begun
            .flat_map(|tail| tail.places.iter().map(|place| place.unit).find(|unit| *unit >= self.first));
        units.min().unwrap_or(u64::MAX)
    }

    /// Too much is held: whatever began in the first unit is taken out, and no longer waited for.
    fn give_up_first(&mut self) {
        let first = self.first;
        let begins =
            |tail: &Tail| tail.text.len() >= HELD_FROM && tail.places.iter().any(|place| place.unit == first);
        let keys: Vec<Key> =
            self.tails.iter().filter(|(_, tail)| begins(tail)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(tail) = self.tails.remove(&key) {
                self.cut(&tail.places, &mut Vec::new());
            }
        }
    }

    fn release(&mut self, until: u64, out: &mut Vec<u8>) {
        while self.first < until
            && let Some(held) = self.held.pop_front()
        {
            self.first += 1;
            self.held_bytes -= held.bytes.len();
            held.write(out);
        }
    }
}

impl Held {
    fn write(mut self, out: &mut Vec<u8>) {
        self.cuts.sort_by_key(|cut| (cut.range.start, !cut.marked));
        let mut past = 0;
        for Cut { range, marked } in self.cuts {
            out.extend_from_slice(self.bytes.get(past..range.start).unwrap_or_default());
            if marked && range.end > past {
                out.extend_from_slice(MARKER.as_bytes());
            }
            past = past.max(range.end);
        }
        out.extend_from_slice(self.bytes.get(past..).unwrap_or_default());
    }
}
