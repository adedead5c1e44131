//! A value that is wiped on drop and never shown.

use std::fmt;

use zeroize::Zeroizing;

/// The bytes of a credential. Wiped from memory when dropped; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// No credential is longer, in bytes: it would not fit the headers that servers accept.
    pub const LONGEST: usize = 16 * 1024;

    /// Takes over the bytes of a credential.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value itself. The name says what to think of before calling it: these bytes must reach an
    /// upstream header, a cipher or a pipe to another process of ours, and nothing else.
    #[must_use]
    pub fn dangerous_expose(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes, which may be shown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({} bytes)", self.0.len())
    }
}

/// `#[serde(with = "dangerous_wire")]`: the value on a link between two processes of ours, which is a
/// Unix socket of mode 0700 and never a file. There is no `Serialize` on the type itself.
pub mod dangerous_wire {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::SecretValue;

    /// Writes the raw bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &SecretValue, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(value.dangerous_expose())
    }

    /// Reads the raw bytes back.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretValue, D::Error> {
        Vec::<u8>::deserialize(from).map(SecretValue::new)
    }
}

#[cfg(test)]
mod tests {
    use super::SecretValue;

    #[test]
    fn debug_shows_the_length_only() {
        let shown = format!("{:?}", SecretValue::new(b"sk-very-secret".to_vec()));
        assert_eq!(shown, "SecretValue(14 bytes)");
    }
}
