//! Percent-encoding: the one canonical form, and the full decoding that a deny is held against.

/// Why a text has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PercentError {
    /// `%` without two hexadecimal digits.
    Bad,
    /// A control character, encoded or not.
    Control,
    /// A raw space, which ends a target.
    Space,
}

/// Whether a byte may stand unencoded in a path segment.
pub(crate) const fn in_segment(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Whether a byte may stand unencoded in a query.
pub(crate) const fn in_query(byte: u8) -> bool {
    in_segment(byte) || matches!(byte, b'/' | b'?')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends the canonical form: unreserved characters decoded, every other encoding in upper case, and what
/// may not stand raw encoded.
pub(crate) fn canonicalise(bytes: &[u8], raw: fn(u8) -> bool, to: &mut String) -> Result<(), PercentError> {
    let mut rest = bytes;
    while let Some((byte, more)) = rest.split_first() {
        rest = more;
        let mut value = *byte;
        let encoded = value == b'%';
        if encoded {
            let (decoded, after) = hex_pair(more).ok_or(PercentError::Bad)?;
            (value, rest) = (decoded, after);
        } else if value == b' ' {
            return Err(PercentError::Space);
        }
        if value.is_ascii_control() {
            return Err(PercentError::Control);
        }
        if is_unreserved(value) || (!encoded && raw(value)) {
            to.push(char::from(value));
        } else {
            push_encoded(value, to);
        }
    }
    Ok(())
}

fn push_encoded(value: u8, to: &mut String) {
    to.push('%');
    for digit in [value >> 4, value & 15] {
        to.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
    }
}

fn hex_pair(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = bytes.split_first_chunk::<2>()?;
    let [high, low] =
        digits.map(|digit| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()));
    Some((high? * 16 + low?, after))
}

/// Encodes everything that is not unreserved.
pub(crate) fn encode(text: &str) -> String {
    let mut to = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) {
            to.push(char::from(byte));
        } else {
            push_encoded(byte, &mut to);
        }
    }
    to
}

/// Decodes every encoding; what is none stays as it is.
pub(crate) fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, more)) = rest.split_first() {
        match hex_pair(more) {
            Some((value, after)) if *byte == b'%' => {
                decoded.push(value);
                rest = after;
            }
            Some(_) | None => {
                decoded.push(*byte);
                rest = more;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::{PercentError, canonicalise, decode, in_segment};

    fn canonical(text: &str) -> Result<String, PercentError> {
        let mut to = String::new();
        canonicalise(text.as_bytes(), in_segment, &mut to).map(|()| to)
    }

    #[test]
    fn one_form() {
        assert_eq!(canonical("%70riv%61te").as_deref(), Ok("private"));
        assert_eq!(canonical("caf%c3%a9").as_deref(), Ok("caf%C3%A9"));
        assert_eq!(canonical("café").as_deref(), Ok("caf%C3%A9"));
        assert_eq!(canonical("a%3ab:").as_deref(), Ok("a%3Ab:"));
        assert_eq!(canonical("{x}").as_deref(), Ok("%7Bx%7D"));
        assert_eq!(canonical("%zz"), Err(PercentError::Bad));
        assert_eq!(canonical("%4"), Err(PercentError::Bad));
        assert_eq!(canonical("a%0d"), Err(PercentError::Control));
        assert_eq!(canonical("a b"), Err(PercentError::Space));
    }

    #[test]
    fn decoding_is_total() {
        assert_eq!(decode(b"a%2fb%zz%"), b"a/b%zz%");
    }
}
