//! Credentials in requests: the caller's are taken out, the backend's is put in.

use std::borrow::Cow;

use chiton_secret::SecretValue;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// Headers that carry credentials for some provider or on the way to it; in every case and repetition.
const HEADERS: [&str; 22] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-auth-token",
    "x-access-token",
    "x-auth-key",
    "x-vault-token",
    "private-token",
    "job-token",
    "deploy-token",
    "dd-api-key",
    "xi-api-key",
    "apikey",
    "ocp-apim-subscription-key",
    "x-functions-key",
    "x-amz-security-token",
    "anthropic-auth-token",
    "openai-api-key",
    "cookie",
    "cookie2",
];

/// Query parameters that carry credentials; compared without case, after percent-decoding.
const PARAMETERS: [&str; 13] = [
    "key",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "token",
    "auth_token",
    "x-api-key",
    "api_token",
    "oauth_token",
    "private_token",
    "job_token",
    "subscription-key",
];

/// The value cannot stand in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be sent: it holds a line break or another character that no header may have")]
pub struct InjectError;

/// Removes every header that may hold a credential; how many there were.
pub fn strip_headers(headers: &mut HeaderMap) -> usize {
    let before = headers.len();
    for name in HEADERS {
        headers.remove(name);
    }
    before - headers.len()
}

/// A query (without `?`) without the parameters that may hold a credential, and without this one; otherwise as it was.
#[must_use]
pub fn strip_query<'a>(query: &'a str, own: Option<&str>) -> Cow<'a, str> {
    let is_credential = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name = decoded(name);
        PARAMETERS.into_iter().chain(own).any(|known| known.as_bytes().eq_ignore_ascii_case(&name))
    };
    // Some servers still part parameters by `;`.
    let tainted = |pair: &str| pair.split(';').any(is_credential);
    if !query.split('&').any(tainted) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !tainted(pair)).collect();
    Cow::Owned(kept.join("&"))
}

/// Sets a header to a prefix and the value, in place of every value that it had; marked so that no log
/// and no header compression table shows it.
///
/// # Errors
/// When the value cannot stand in a header.
pub fn inject_header(
    headers: &mut HeaderMap,
    name: HeaderName,
    prefix: &str,
    value: &SecretValue,
) -> Result<(), InjectError> {
    let mut whole = Zeroizing::new(Vec::with_capacity(prefix.len() + value.len()));
    whole.extend_from_slice(prefix.as_bytes());
    whole.extend_from_slice(value.dangerous_expose());
    let mut whole = HeaderValue::from_bytes(&whole).map_err(|_| InjectError)?;
    whole.set_sensitive(true);
    headers.insert(name, whole);
    Ok(())
}

fn decoded(name: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = name.bytes();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, ahead.next().and_then(digit), ahead.next().and_then(digit)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(high << 4 | low);
                bytes = ahead;
            }
            (byte, _, _) => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_repetition_is_stripped() {
        let mut headers = HeaderMap::new();
        for name in [
            "Authorization",
            "AUTHORIZATION",
            "x-API-key",
            "Api-Key",
            "Cookie",
            "Proxy-Authorization",
            "accept",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        assert_eq!(strip_headers(&mut headers), 6);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn query_parameters_are_stripped_however_they_are_written() {
        assert_eq!(strip_query("a=1&b=%20", None), "a=1&b=%20");
        assert_eq!(strip_query("a=1&KEY=x&b=2&%6bey=y&api%5Fkey=z&api-key&c", None), "a=1&b=2&c");
        assert_eq!(strip_query("key=x", None), "");
        assert_eq!(strip_query("a=1;key=2&b", None), "b");
        assert_eq!(strip_query("monkey=1&keys=2", None), "monkey=1&keys=2");
        assert_eq!(strip_query("a=1&Mine=x&b&m%69ne=2", Some("mine")), "a=1&b");
    }

    #[test]
    fn what_is_injected_is_alone_and_marked() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Bearer mine"));
        headers.append("authorization", HeaderValue::from_static("Bearer also mine"));
        let value = SecretValue::new(b"sk-backend".to_vec());
        crate::Dialect::OpenAi.inject(&mut headers, &value).unwrap();
        let all: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(all, ["Bearer sk-backend"]);
        assert!(all[0].is_sensitive());
        assert!(!format!("{headers:?}").contains("backend"));
        crate::Dialect::Anthropic.inject(&mut headers, &value).unwrap();
        assert_eq!(headers["x-api-key"], "sk-backend");
        let broken = SecretValue::new(b"a\r\nx: y".to_vec());
        assert_eq!(crate::Dialect::Anthropic.inject(&mut headers, &broken), Err(InjectError));
    }
}
