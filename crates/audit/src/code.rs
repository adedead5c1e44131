//! A short machine-readable word: an action, a reason.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize, Serializer};

const LONGEST: usize = 64;

/// A word of `a-z`, digits, `_`, `.`, `-` and `:`, at most 64 bytes. Whatever else is given becomes `_`, so
/// that a code can stand in a header, a terminal or a query unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct Code(Cow<'static, str>);

impl Code {
    /// The word itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this word is one as it stands.
pub(crate) fn is_code(word: &str) -> bool {
    word.len() <= LONGEST && word.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-' | b':')
}

impl From<&'static str> for Code {
    fn from(word: &'static str) -> Self {
        if is_code(word) {
            return Self(Cow::Borrowed(word));
        }
        Self::from(word.to_owned())
    }
}

impl From<String> for Code {
    fn from(word: String) -> Self {
        let plain = word.bytes().take(LONGEST).map(|b| if is_plain(b) { char::from(b) } else { '_' });
        Self(Cow::Owned(plain.collect()))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn holds_nothing_that_needs_escaping() {
        assert_eq!(Code::from("path_not_allowed").as_str(), "path_not_allowed");
        assert_eq!(Code::from("a\u{1b}[31m B".to_owned()).as_str(), "a__31m__");
        assert_eq!(Code::from("x".repeat(80)).as_str().len(), 64);
    }
}
