//! JSON written key by key: what `serde` would write, without its machinery. Every request is two events. A test holds
//! the two ways against each other.

use std::fmt::Write as _;

/// An object that is being written.
pub(crate) struct Object<'a> {
    to: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins one at the end of `to`.
    pub(crate) fn begin(to: &'a mut String) -> Self {
        to.push('{');
        Self { to, is_empty: true }
    }

    /// A key, which needs no escapes. What is pushed next is its value.
    pub(crate) fn key(&mut self, key: &str) -> &mut String {
        if !self.is_empty {
            self.to.push(',');
        }
        self.is_empty = false;
        self.to.push('"');
        self.to.push_str(key);
        self.to.push_str("\":");
        self.to
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            push_text(self.key(key), value);
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, key: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            let _ = write!(self.key(key), "{}", value.into());
        }
    }

    /// Ends it.
    pub(crate) fn end(self) {
        self.to.push('}');
    }
}

/// Appends a text in quotes.
pub(crate) fn push_text(to: &mut String, text: &str) {
    // Looked through to its end, which is done many bytes at a time; hardly any needs more.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// Whether a text with this byte in it needs no escape for it.
pub(crate) const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}
