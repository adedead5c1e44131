//! Reads a request's objects so that nothing in them is overlooked: what is not taken is judged by a table.

use std::{borrow::Cow, fmt};

use serde_json::{Value, value::RawValue};

use super::fates::{Fate, Field};
use crate::request::Object;

/// An API that requests are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Anthropic's.
    Messages,
    /// OpenAI's, and of all who speak it.
    Chat,
}

/// Why a request cannot be put into another API's words. Names the field.
#[derive(Debug, thiserror::Error)]
pub enum Untranslatable {
    /// It is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    NotAnObject(#[source] serde_json::Error),
    /// An object says something twice.
    #[error("the body has `{0}` more than once")]
    Repeated(String),
    /// A field, or a value of it, has no counterpart.
    #[error("`{place}` cannot be translated to {to}: {why}")]
    Refused {
        /// Which.
        place: String,
        /// Where it would have to be said.
        to: Api,
        /// Why not.
        why: &'static str,
    },
    /// A value is of another type than the API's.
    #[error("`{0}` is not {1}")]
    Wrong(String, &'static str),
    /// A field has to be there.
    #[error("`{0}` is missing")]
    Missing(String),
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Messages => "Anthropic's messages",
            Api::Chat => "chat completions",
        })
    }
}

/// Where in a request something stands.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Root,
    Key(&'p Place<'p>, &'p str),
    Item(&'p Place<'p>, usize),
}

/// Of a name that the caller made up, this much is shown.
const LONGEST_NAME: usize = 64;

impl<'p> Place<'p> {
    pub(super) const fn key(&'p self, key: &'p str) -> Place<'p> {
        Place::Key(self, key)
    }

    pub(super) const fn item(&'p self, index: usize) -> Place<'p> {
        Place::Item(self, index)
    }

    pub(super) fn refused(&self, to: Api, why: &'static str) -> Untranslatable {
        Untranslatable::Refused { place: self.to_string(), to, why }
    }

    pub(super) fn wrong(&self, wanted: &'static str) -> Untranslatable {
        Untranslatable::Wrong(self.to_string(), wanted)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => f.write_str("the body"),
            Place::Key(outer, key) => {
                if !matches!(outer, Place::Root) {
                    write!(f, "{outer}.")?;
                }
                let shown: String = key.chars().take(LONGEST_NAME).collect();
                write!(f, "{}", shown.escape_debug())
            }
            Place::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

/// The fields of an object that nobody has taken yet.
pub(super) struct Fields<'a, 'p> {
    pub(super) place: &'p Place<'p>,
    pub(super) to: Api,
    left: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A text as it stands in the JSON, with its quotes: passed on byte for byte.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl<'a> Text<'a> {
    fn of(raw: &'a RawValue) -> Option<Self> {
        raw.get().starts_with('"').then(|| Text(raw.get()))
    }

    /// Without the quotes, still escaped.
    pub(super) fn inner(self) -> &'a str {
        self.0.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default()
    }
}

/// What a `content` is.
pub(super) enum Content<'a> {
    Text(Text<'a>),
    Blocks(Vec<&'a RawValue>),
}

impl<'a, 'p> Fields<'a, 'p> {
    pub(super) fn of(raw: &'a RawValue, place: &'p Place<'p>, to: Api) -> Result<Self, Untranslatable> {
        let object: Object<'a> = serde_json::from_str(raw.get()).map_err(|_| place.wrong("an object"))?;
        let mut left: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::with_capacity(object.0.len());
        for (key, value) in object.0 {
            if left.iter().any(|(known, _)| *known == key) {
                return Err(Untranslatable::Repeated(place.key(&key).to_string()));
            }
            left.push((key, value));
        }
        Ok(Self { place, to, left })
    }

    /// Takes a field; `null` is as good as none.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.left.iter().position(|(name, _)| name == key)?;
        let (_, raw) = self.left.swap_remove(at);
        (raw.get() != "null").then_some(raw)
    }

    pub(super) fn need(&mut self, key: &str) -> Result<&'a RawValue, Untranslatable> {
        self.take(key).ok_or_else(|| Untranslatable::Missing(self.place.key(key).to_string()))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<Text<'a>>, Untranslatable> {
        let text = |raw| Text::of(raw).ok_or_else(|| self.place.key(key).wrong("a string"));
        match self.left.iter().position(|(name, _)| name == key).map(|at| self.left.swap_remove(at).1) {
            Some(raw) if raw.get() != "null" => text(raw).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) fn need_text(&mut self, key: &str) -> Result<Text<'a>, Untranslatable> {
        self.text(key)?.ok_or_else(|| Untranslatable::Missing(self.place.key(key).to_string()))
    }

    /// A text that is looked at.
    pub(super) fn word(&mut self, key: &str) -> Result<Option<String>, Untranslatable> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        serde_json::from_str(text.0).map(Some).map_err(|_| self.place.key(key).wrong("a string"))
    }

    pub(super) fn need_word(&mut self, key: &str) -> Result<String, Untranslatable> {
        self.word(key)?.ok_or_else(|| Untranslatable::Missing(self.place.key(key).to_string()))
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Untranslatable> {
        match self.take(key).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.place.key(key).wrong("true or false")),
        }
    }

    /// A number, passed on as it is written.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<&'a str>, Untranslatable> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let is_number = raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if is_number { Ok(Some(raw.get())) } else { Err(self.place.key(key).wrong("a number")) }
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<&'a RawValue>>, Untranslatable> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.place.key(key).wrong("a list"))
    }

    /// Each entry of a list, said in other words.
    pub(super) fn each(
        &mut self,
        key: &str,
        say: fn(&RawValue, &Place<'_>) -> Result<String, Untranslatable>,
    ) -> Result<Vec<String>, Untranslatable> {
        let (entries, place) = (self.list(key)?.unwrap_or_default(), self.place.key(key));
        entries.into_iter().enumerate().map(|(index, entry)| say(entry, &place.item(index))).collect()
    }

    /// An object that is passed on as it is.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<&'a str>, Untranslatable> {
        match self.take(key).map(RawValue::get) {
            Some(raw) if !raw.starts_with('{') => Err(self.place.key(key).wrong("an object")),
            raw => Ok(raw),
        }
    }

    pub(super) fn need_object(&mut self, key: &str) -> Result<&'a str, Untranslatable> {
        self.object(key)?.ok_or_else(|| Untranslatable::Missing(self.place.key(key).to_string()))
    }

    /// Judges what nobody took: it is known to change nothing, or it is refused by its name.
    pub(super) fn settle(self, fates: &[Field]) -> Result<(), Untranslatable> {
        for (key, raw) in &self.left {
            let refused = |why| Err(self.place.key(key).refused(self.to, why));
            match fates.iter().find(|field| field.name == key).map(|field| field.fate) {
                Some(Fate::Ignored(_)) => {}
                Some(Fate::Refused { unless, .. }) if is_one_of(raw, unless) => {}
                Some(Fate::Refused { why, .. }) => return refused(why),
                // What is carried was taken; a table that says otherwise is wrong, and refusing is safe.
                Some(Fate::Carried) | None => return refused("the field is not known here; leave it out"),
            }
        }
        Ok(())
    }
}

fn is_one_of(raw: &RawValue, known: &[&str]) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else { return false };
    value.is_null()
        || known.iter().any(|known| serde_json::from_str::<Value>(known).is_ok_and(|known| known == value))
}

/// A text, or a list of blocks.
pub(super) fn content<'a>(raw: &'a RawValue, place: &Place<'_>) -> Result<Content<'a>, Untranslatable> {
    if let Some(text) = Text::of(raw) {
        return Ok(Content::Text(text));
    }
    let blocks = serde_json::from_str(raw.get());
    blocks.map(Content::Blocks).map_err(|_| place.wrong("a string or a list of blocks"))
}

/// The body as one value.
pub(super) fn body(body: &[u8]) -> Result<&RawValue, Untranslatable> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(Untranslatable::NotAnObject)?;
    if raw.get().starts_with('{') {
        return Ok(raw);
    }
    // Without what it is instead, which may be long.
    Err(Place::Root.wrong("a JSON object"))
}
