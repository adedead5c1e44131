//! JSON with secrets in it: texts go straight into what is wiped, all else is known by its kind alone.

use std::fmt;

use chiton_secret::SecretValue;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A text, straight into what is wiped.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<SecretValue, D::Error> {
    match Field::deserialize(from)? {
        Field::Text(value) => Ok(value),
        Field::Other(_) => Err(serde::de::Error::custom("no text")),
    }
}

/// A field of a secret.
#[derive(Debug)]
pub(crate) enum Field {
    Text(SecretValue),
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(SecretValue::new(text.as_bytes().to_vec())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other("empty"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other("a map"))
    }
}

/// A text that may be absent or null, as that.
pub(crate) fn maybe_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretValue>, D::Error> {
    match Option::<Field>::deserialize(from)? {
        None => Ok(None),
        Some(Field::Text(value)) => Ok(Some(value)),
        Some(Field::Other(_)) => Err(serde::de::Error::custom("no text")),
    }
}
