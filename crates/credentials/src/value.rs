//! What a credential must be to be sent, and to be kept out of responses.

use chiton_secret::SecretValue;

/// Shorter values cannot be told from ordinary text in a response.
const SHORTEST: usize = 8;

/// Why a value cannot be used. Never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It could not be kept out of responses.
    #[error(
        "it has only {0} bytes; a credential needs at least 8, since a shorter one cannot be removed from responses safely"
    )]
    TooShort(usize),
    /// It fits no header.
    #[error("it has {0} bytes; a credential may have at most 16384")]
    TooLong(usize),
    /// It fits no header either.
    #[error("it holds a line break or another control character, which no header may have")]
    Control,
}

/// Whether a value can be sent in a header and removed from what comes back.
///
/// # Errors
/// Why not.
pub fn usable(value: &SecretValue) -> Result<(), Unusable> {
    let bytes = value.dangerous_expose();
    match bytes.len() {
        0 => Err(Unusable::Empty),
        length if length < SHORTEST => Err(Unusable::TooShort(length)),
        length if length > SecretValue::LONGEST => Err(Unusable::TooLong(length)),
        _ if bytes.iter().any(u8::is_ascii_control) => Err(Unusable::Control),
        _ => Ok(()),
    }
}

/// The value without the one line end that an editor or `echo` puts after it.
#[must_use]
pub fn trim_line_end(value: SecretValue) -> SecretValue {
    let bytes = value.dangerous_expose();
    let trimmed = bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    match trimmed {
        Some(trimmed) => SecretValue::new(trimmed.to_vec()),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_trimmed_and_no_more() {
        let trim = |text: &str| trim_line_end(SecretValue::new(text.into())).dangerous_expose().to_vec();
        assert_eq!(trim("a\n"), b"a");
        assert_eq!(trim("a\r\n"), b"a");
        assert_eq!(trim("a\n\n"), b"a\n");
        assert_eq!(trim(" a "), b" a ");
    }

    #[test]
    fn what_cannot_be_sent_or_removed_is_refused() {
        let usable = |text: &str| usable(&SecretValue::new(text.into()));
        assert_eq!(usable("12345678"), Ok(()));
        assert_eq!(usable(""), Err(Unusable::Empty));
        assert_eq!(usable("1234567"), Err(Unusable::TooShort(7)));
        assert_eq!(usable("1234\n5678"), Err(Unusable::Control));
        assert_eq!(usable(&"x".repeat(20_000)), Err(Unusable::TooLong(20_000)));
    }
}
