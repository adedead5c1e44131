//! The strings of a JSON document, each with the place by which its text goes on in later events.
//!
//! A string is followed by two keys, for there is more than one way to join: by its whole path, where an
//! object's own numbering (`index`, `item_id` and the like) counts instead of its place in an array; and by its
//! nearest property alone. What is read need not be JSON: what is odd is read as far as it goes.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    ops::Range,
};

use super::{Unfollowable, text::Text};

/// The properties by which providers tell interleaved texts apart.
const NUMBERING: [&[u8]; 5] = [b"index", b"item_id", b"output_index", b"content_index", b"summary_index"];
/// The properties in which texts are told in pieces. What any other says is read as it comes, and never waits.
const TOLD: [&[u8]; 26] = [
    b"text",
    b"content",
    b"delta",
    b"partial_json",
    b"arguments",
    b"thinking",
    b"reasoning",
    b"reasoning_content",
    b"reasoning_text",
    b"refusal",
    b"input",
    b"output",
    b"output_text",
    b"transcript",
    b"summary",
    b"message",
    b"response",
    b"token",
    b"generated_text",
    b"completion",
    b"code",
    b"data",
    b"answer",
    b"body",
    b"value",
    b"chunk",
];
/// How many containers and strings one document may have.
const MOST: usize = 65_536;

/// By what a text is followed: a hash with a key of our own, so that no sender can make two meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    /// Data that is no JSON.
    pub(super) const PLAIN: Key = Key(0);
}

/// A string, as it stands in its event.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) range: Range<usize>,
    pub(super) json: bool,
    /// It may go on in a later event, and waits for it.
    pub(super) told: bool,
    pub(super) keys: [Option<Key>; 2],
}

/// Reads one document, a line at a time.
#[derive(Debug)]
pub(super) struct Scan {
    hasher: RandomState,
    containers: Vec<Container>,
    current: usize,
    strings: Vec<(Range<usize>, Place)>,
    in_string: bool,
}

/// An open or closed object or array; the first is the document's outside.
#[derive(Debug, Default)]
struct Container {
    parent: usize,
    place: Place,
    is_object: bool,
    /// A property's name comes next.
    at_name: bool,
    /// The name of the property whose value comes next, or the number of the element.
    next: u64,
    named: Option<&'static [u8]>,
    /// The property is one of [`TOLD`].
    told: bool,
    numbering: Option<u64>,
}

/// Where something stands in a container.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    container: usize,
    step: u64,
    in_object: bool,
    told: bool,
}

impl Scan {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            hasher: hasher.clone(),
            containers: vec![Container {
                place: Place { told: true, ..Place::default() },
                ..Container::default()
            }],
            current: 0,
            strings: Vec::new(),
            in_string: false,
        }
    }

    /// Whether what was read is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.current == 0 && !self.in_string
    }

    /// Reads the line that stands at this range of the event.
    pub(super) fn line(&mut self, event: &[u8], line: Range<usize>) -> Result<(), Unfollowable> {
        let text = event.get(..line.end).unwrap_or_default();
        let mut at = line.start;
        if self.in_string {
            at = self.string(text, at);
        }
        while let Some(byte) = text.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => self.open(*byte == b'{'),
                b'}' | b']' => self.close(),
                b',' => self.comma(),
                b':' => self.on_container(|container| container.at_name = false),
                b'"' => at = self.string(text, at),
                byte if is_bare(*byte) => {
                    let rest = text.get(at..).unwrap_or_default();
                    let start = at - 1;
                    at += rest.iter().position(|byte| !is_bare(*byte)).unwrap_or(rest.len());
                    self.number(text.get(start..at).unwrap_or_default());
                }
                _ => {}
            }
            if self.containers.len() + self.strings.len() > MOST {
                return Err(Unfollowable::TooMany);
            }
        }
        Ok(())
    }

    /// Reads a string's inside; where the text goes on after it.
    fn string(&mut self, text: &[u8], start: usize) -> usize {
        let mut at = start;
        let end = loop {
            let rest = text.get(at..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest) {
                Some(found) if rest.get(found) == Some(&b'"') => break Some(at + found),
                Some(found) => at = (at + found + 2).min(text.len()),
                None => break None,
            }
        };
        self.in_string = end.is_none();
        let range = start..end.unwrap_or(text.len());
        let raw = text.get(range.clone()).unwrap_or_default();
        let at_name = self.containers.get(self.current).is_some_and(|container| container.at_name);
        if at_name {
            let name = Text::json(raw, 0).bytes;
            let next = self.hasher.hash_one(&*name);
            let named = NUMBERING.into_iter().find(|known| *known == &*name);
            let told = TOLD.contains(&&*name);
            self.on_container(|container| {
                (container.next, container.named, container.told) = (next, named, told);
            });
        } else {
            self.number(raw);
            let place = self.place();
            self.strings.push((range.clone(), place));
        }
        range.end + usize::from(end.is_some())
    }

    fn open(&mut self, is_object: bool) {
        let place = self.place();
        let next =
            Container { parent: self.current, place, is_object, at_name: is_object, ..Container::default() };
        self.current = self.containers.len();
        self.containers.push(next);
    }

    fn close(&mut self) {
        self.current = self.containers.get(self.current).map_or(0, |container| container.parent);
    }

    fn comma(&mut self) {
        self.on_container(|container| {
            container.at_name = container.is_object;
            container.named = None;
            if !container.is_object {
                container.next += 1;
            }
        });
    }

    /// A scalar, which may be what its object is numbered by.
    fn number(&mut self, raw: &[u8]) {
        let name = self.containers.get(self.current).and_then(|container| container.named);
        let Some(name) = name else { return };
        let hash = self.hasher.hash_one((name, raw));
        // A sum, for properties have no order.
        self.on_container(|container| {
            container.named = None;
            container.numbering = Some(container.numbering.unwrap_or(0).wrapping_add(hash));
        });
    }

    fn on_container(&mut self, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.get_mut(self.current) {
            change(container);
        }
    }

    fn place(&self) -> Place {
        let Some(container) = self.containers.get(self.current) else { return Place::default() };
        let told = if container.is_object { container.told } else { container.place.told };
        Place { container: self.current, step: container.next, in_object: container.is_object, told }
    }

    /// The strings with their keys: known only now, for an object's numbering may come last in it.
    pub(super) fn finish(self) -> Vec<Found> {
        let mut paths: Vec<(u64, u64)> = Vec::with_capacity(self.containers.len());
        let within = |paths: &[(u64, u64)], place: Place, numbered: bool| {
            let (path, nearest) = paths.get(place.container).copied().unwrap_or_default();
            let step = if place.in_object || !numbered { place.step } else { u64::MAX };
            let nearest = if place.in_object { place.step } else { nearest };
            (self.hasher.hash_one((path, place.in_object, step)), nearest)
        };
        for container in &self.containers {
            let (path, nearest) = within(&paths, container.place, container.numbering.is_some());
            paths.push((self.hasher.hash_one((path, container.numbering)), nearest));
        }
        let mut seen: HashMap<u64, u32> = HashMap::new();
        let strings = self.strings.into_iter().map(|(range, place)| {
            let (path, nearest) = within(&paths, place, false);
            // A name that comes twice in an object.
            let times = seen.entry(path).and_modify(|times| *times += 1).or_default();
            let keys = [self.hasher.hash_one((path, *times)), self.hasher.hash_one(nearest)];
            Found { range, json: true, told: place.told, keys: keys.map(|key| Some(Key(key))) }
        });
        strings.collect()
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}
