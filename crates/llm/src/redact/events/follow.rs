//! Texts, followed from event to event, and the events held until it is known what they tell.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;

use super::{lines::Unit, scan::Key, text::Text};
use crate::redact::{MARKER, find::Finder};

/// How many bytes and units are held beside the last unit.
const MOST_BYTES: usize = 256 * 1024;
const MOST_UNITS: usize = 1024;
/// A text that has not gone on in so many events with texts is whole, and waits no more.
const MOST_EVENTS: u64 = 32;
/// How many texts, and bytes of them, are followed at once; then those that have gone on lately.
const MOST_TEXTS: usize = 4096;
const MOST_TEXT: usize = 1024 * 1024;

pub(super) struct Follower {
    finder: Arc<Finder>,
    tails: HashMap<Key, Tail>,
    tails_bytes: usize,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The number of the first unit held.
    first: u64,
    /// How many units with texts there were.
    told: u64,
}

/// The end of a text that may go on, as any value might.
#[derive(Default)]
struct Tail {
    text: Vec<u8>,
    /// Where its last bytes stand, each that is in a unit still held.
    places: Vec<Place>,
    /// The unit with texts in which it was told last.
    last: u64,
    /// Units are held for it.
    waits: bool,
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
        Self {
            finder,
            tails: HashMap::new(),
            tails_bytes: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            first: 0,
            told: 0,
        }
    }

    /// Takes the next unit, and adds to `out` what may pass by now.
    pub(super) fn follow(&mut self, unit: Unit, out: &mut Vec<u8>) {
        let Unit { bytes, texts } = unit;
        if texts.is_empty() && self.held.is_empty() {
            out.extend_from_slice(&bytes);
            return;
        }
        self.told += u64::from(!texts.is_empty());
        let mut cuts = Vec::new();
        for found in texts {
            let raw = bytes.get(found.range.clone()).unwrap_or_default();
            let at = found.range.start;
            let text = if found.json { Text::json(raw, at) } else { Text::plain(raw, at) };
            for key in found.keys.into_iter().flatten() {
                self.go_on(key, &text, found.told, &mut cuts);
            }
        }
        self.held_bytes += bytes.len();
        self.held.push_back(Held { bytes, cuts });
        self.forget();
        self.release(self.needed_from(), out);
        while self.held.len() > 1 && (self.held.len() > MOST_UNITS || self.held_bytes > MOST_BYTES) {
            self.give_up_first();
            self.release(self.needed_from(), out);
        }
    }

    /// Whether anything is held.
    pub(super) fn waits(&self) -> bool {
        !self.held.is_empty()
    }

    /// Nothing is waited for any more: neither at the end, nor where nothing has come for long.
    pub(super) fn let_go(&mut self, out: &mut Vec<u8>) {
        self.tails.values_mut().for_each(|tail| tail.waits = false);
        self.release(u64::MAX, out);
    }

    /// A text goes on in the unit that comes after those held; what is cut from that goes into `cuts`.
    fn go_on(&mut self, key: Key, text: &Text<'_>, told: bool, cuts: &mut Vec<Cut>) {
        if text.bytes.is_empty() {
            return;
        }
        let mut tail = self.tails.remove(&key).unwrap_or_default();
        self.tails_bytes -= tail.text.len();
        let before = tail.text.len();
        let gone = tail.places.iter().take_while(|place| place.unit < self.first).count();
        tail.places.drain(..gone);
        let placed = before - tail.places.len();
        let mut joined = tail.text;
        joined.extend_from_slice(&text.bytes);
        let unit = self.first + self.held.len() as u64;
        let places = |range: Range<usize>| -> Vec<Place> {
            let known = range.start.clamp(placed, before) - placed..range.end.clamp(placed, before) - placed;
            let known = tail.places.get(known).unwrap_or_default();
            let new = range.start.max(before)..range.end.max(before);
            let new = new.map(|byte| Place { unit, range: text.place(byte - before) });
            known.iter().cloned().chain(new).collect()
        };
        let found = self.finder.find(&joined);
        for range in &found {
            self.cut(&places(range.clone()), cuts);
        }
        let past = found.last().map_or(0, |range| range.end);
        let from = self.finder.hold().joined_from(&joined).max(past);
        if from < joined.len() {
            let places = places(from..joined.len());
            let waits = told && joined.len() - from >= self.finder.hold().least();
            let text = joined.split_off(from);
            self.tails_bytes += text.len();
            self.tails.insert(key, Tail { text, places, last: self.told, waits });
        }
    }

    /// Lets go of texts that are not told any more, where there are too many.
    fn forget(&mut self) {
        let over = |follower: &Self| follower.tails.len() > MOST_TEXTS || follower.tails_bytes > MOST_TEXT;
        if over(self) {
            self.tails.retain(|_, tail| tail.last + MOST_EVENTS > self.told);
            self.tails_bytes = self.tails.values().map(|tail| tail.text.len()).sum();
        }
        if over(self) {
            self.tails.clear();
            self.tails_bytes = 0;
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
        let waiting = self.tails.values().filter(|tail| tail.waits && tail.last + MOST_EVENTS > self.told);
        waiting.filter_map(|tail| tail.held_from(self.first)).min().unwrap_or(u64::MAX)
    }

    /// Too much is held: what waits in the first unit waits no more.
    fn give_up_first(&mut self) {
        for tail in self.tails.values_mut() {
            tail.waits &= tail.held_from(self.first) != Some(self.first);
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

impl Tail {
    /// The first unit still held that it stands in.
    fn held_from(&self, first: u64) -> Option<u64> {
        self.places.iter().map(|place| place.unit).find(|unit| *unit >= first)
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
