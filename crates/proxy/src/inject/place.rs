//! Where a value stands in a request, and how it is written there.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chiton_aws::Credentials;
use chiton_policy::{Intent, model::CredentialPlace};
use chiton_secret::SecretValue;
use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use super::Prepared;
use crate::judge::SentTarget;

/// Why a value cannot stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// In a header.
    #[error("the rule's credential holds a line break or another character that no header may have")]
    Header,
    /// As a password.
    #[error("the rule's credential holds a control character, which no password of Basic may have")]
    Basic,
    /// As a cookie.
    #[error("the rule's credential holds a character that no cookie may have")]
    Cookie,
    /// It signs.
    #[error("the rule's credential is an AWS key, which stands nowhere itself")]
    Signs,
}

/// Puts the value in, in place of whatever the agent has put there.
pub(super) fn put(
    place: &CredentialPlace,
    value: &SecretValue,
    intent: &Intent,
    prepared: &mut Prepared,
) -> Result<(), Unfit> {
    let query = match place {
        CredentialPlace::Query(name) => Some(name.as_str()),
        CredentialPlace::Header { .. }
        | CredentialPlace::Basic(_)
        | CredentialPlace::Cookie(_)
        | CredentialPlace::Aws => None,
    };
    prepared.target = SentTarget::stripped(intent, query);
    let written = written(place, value)?;
    let (name, before, after) = match place {
        CredentialPlace::Header { name, format } => {
            let (before, after) = format.around();
            (HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| Unfit::Header)?, before, after)
        }
        CredentialPlace::Basic(_) => (header::AUTHORIZATION, "Basic ", ""),
        CredentialPlace::Cookie(name) => {
            let begin = Zeroizing::new(format!("{}=", name.as_str()));
            return set(prepared, header::COOKIE, [begin.as_bytes(), written.dangerous_expose(), b""]);
        }
        CredentialPlace::Query(name) => {
            prepared.target.append(name.as_str(), &written);
            return Ok(());
        }
        CredentialPlace::Aws => return Err(Unfit::Signs),
    };
    set(prepared, name, [before.as_bytes(), written.dangerous_expose(), after.as_bytes()])
}

/// Marked so that no log and no header compression table shows it.
fn set(prepared: &mut Prepared, name: HeaderName, parts: [&[u8]; 3]) -> Result<(), Unfit> {
    let whole = Zeroizing::new(parts.concat());
    let mut whole = HeaderValue::from_bytes(&whole).map_err(|_| Unfit::Header)?;
    whole.set_sensitive(true);
    prepared.headers.insert(name, whole);
    Ok(())
}

/// What of a value a server could say back: as it is written in its place, or the parts of a key that signs.
pub(crate) fn forms(place: &CredentialPlace, value: &SecretValue) -> Vec<SecretValue> {
    match place {
        CredentialPlace::Aws => {
            let Ok(key) = Credentials::parse(value) else { return Vec::new() };
            let id = SecretValue::new(key.access_key_id.into_bytes());
            [Some(id), Some(key.secret_access_key), key.session_token].into_iter().flatten().collect()
        }
        CredentialPlace::Header { .. }
        | CredentialPlace::Basic(_)
        | CredentialPlace::Query(_)
        | CredentialPlace::Cookie(_) => written(place, value).into_iter().collect(),
    }
}

/// A value as it is written in its place.
fn written(place: &CredentialPlace, value: &SecretValue) -> Result<SecretValue, Unfit> {
    let bytes = value.dangerous_expose();
    match place {
        CredentialPlace::Header { .. } => Ok(value.clone()),
        CredentialPlace::Basic(_) if bytes.iter().any(u8::is_ascii_control) => Err(Unfit::Basic),
        CredentialPlace::Basic(user) => {
            let both = Zeroizing::new([user.as_str().as_bytes(), b":", bytes].concat());
            Ok(SecretValue::new(STANDARD.encode(&*both).into_bytes()))
        }
        CredentialPlace::Cookie(_) if !bytes.iter().copied().all(is_cookie_octet) => Err(Unfit::Cookie),
        CredentialPlace::Cookie(_) => Ok(value.clone()),
        CredentialPlace::Query(_) => Ok(SecretValue::new(percent_encoded(bytes))),
        CredentialPlace::Aws => Err(Unfit::Signs),
    }
}

/// RFC 6265, 4.1.1.
const fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

fn percent_encoded(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    let mut text = Vec::with_capacity(3 * bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(*byte);
        } else {
            text.extend([b'%', digit(byte >> 4), digit(*byte)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use chiton_policy::Policy;

    use super::*;

    fn place(text: &str) -> CredentialPlace {
        let rule = format!("{{host: a.test, credential: {{secret: 'local://a', {text}}}}}");
        let policy = Policy::parse(&format!("dynamic: {{network: {{http: [{rule}]}}}}")).unwrap();
        policy.dynamic.http[0].credential.clone().unwrap().place
    }

    fn of(text: &str, value: &str) -> Result<String, Unfit> {
        let written = written(&place(text), &SecretValue::new(value.as_bytes().to_vec()))?;
        Ok(String::from_utf8(written.dangerous_expose().to_vec()).unwrap())
    }

    #[test]
    fn every_place_has_its_own_way_of_writing() {
        assert_eq!(of("header: x-key", "a b:c").unwrap(), "a b:c");
        // RFC 7617, 2.
        assert_eq!(of("basic: {user: Aladdin}", "open sesame").unwrap(), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(of("query: key", "a b&c=d/\u{e9}").unwrap(), "a%20b%26c%3Dd%2F%C3%A9");
        assert_eq!(of("cookie: sid", "a.b-c").unwrap(), "a.b-c");
    }

    #[test]
    fn what_cannot_stand_there_is_refused() {
        for value in ["a b", "a;b", "a,b", "a\"b", "a\\b", "a\r\nb", "\u{e9}"] {
            assert_eq!(of("cookie: sid", value), Err(Unfit::Cookie), "{value}");
        }
        assert_eq!(of("basic: {user: ''}", "a\nb"), Err(Unfit::Basic));
        assert_eq!(of("query: key", "a\nb").unwrap(), "a%0Ab");
    }
}
