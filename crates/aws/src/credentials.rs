//! What Amazon knows a caller by.

use std::time::SystemTime;

use chiton_secret::SecretValue;
use serde::Deserialize;
use zeroize::Zeroizing;

/// An access key, and the token that goes with one that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name, which every request shows.
    pub access_key_id: String,
    /// Its key, which signs and is never sent.
    pub secret_access_key: SecretValue,
    /// What is sent beside a key that ends.
    pub session_token: Option<SecretValue>,
    /// When it ends.
    pub expires: Option<SystemTime>,
}

/// A value is no AWS credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `KEY_ID:SECRET_KEY` or `KEY_ID:SECRET_KEY:SESSION_TOKEN`, or the JSON that AWS's own tools write them in"
)]
pub struct NoCredentials;

/// As files and AWS's own tools name the parts.
#[derive(Deserialize)]
struct Parts {
    #[serde(alias = "AccessKeyId", alias = "AWS_ACCESS_KEY_ID", alias = "aws_access_key_id")]
    access_key_id: String,
    #[serde(alias = "SecretAccessKey", alias = "AWS_SECRET_ACCESS_KEY", alias = "aws_secret_access_key")]
    secret_access_key: String,
    #[serde(alias = "SessionToken", alias = "AWS_SESSION_TOKEN", alias = "aws_session_token")]
    session_token: Option<String>,
}

impl Credentials {
    /// Reads a secret's value: parts with `:` between them, or a JSON object.
    ///
    /// # Errors
    /// When it is neither. No error holds a part of it.
    pub fn parse(value: &SecretValue) -> Result<Self, NoCredentials> {
        let bytes = value.dangerous_expose();
        let text = std::str::from_utf8(bytes).map_err(|_| NoCredentials)?;
        let (id, secret, token) = if text.trim_start().starts_with('{') {
            let Parts { access_key_id, secret_access_key, session_token } =
                serde_json::from_str(text).map_err(|_| NoCredentials)?;
            (access_key_id, Zeroizing::new(secret_access_key), session_token.map(Zeroizing::new))
        } else {
            let mut parts = text.split(':');
            let id = parts.next().unwrap_or_default().to_owned();
            let secret = Zeroizing::new(parts.next().ok_or(NoCredentials)?.to_owned());
            let token = parts.next().map(|token| Zeroizing::new(token.to_owned()));
            if parts.next().is_some() {
                return Err(NoCredentials);
            }
            (id, secret, token)
        };
        let is_id = (16..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_id || !is_key(&secret) || !token.as_ref().is_none_or(|token| is_key(token)) {
            return Err(NoCredentials);
        }
        let value = |part: &str| SecretValue::new(part.as_bytes().to_vec());
        Ok(Self {
            access_key_id: id,
            secret_access_key: value(&secret),
            session_token: token.map(|token| value(&token)),
            expires: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Credentials, NoCredentials> {
        Credentials::parse(&SecretValue::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let plain = parse("AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG+x").unwrap();
        assert_eq!(plain.access_key_id, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(plain.secret_access_key.dangerous_expose(), b"wJalrXUtnFEMI/K7MDENG+x");
        assert_eq!(plain.session_token, None);
        let token = parse("ASIAIOSFODNN7EXAMPLE:secret/key:token+/==").unwrap().session_token.unwrap();
        assert_eq!(token.dangerous_expose(), b"token+/==");
        for json in [
            r#"{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"secret","Expiration":"x"}"#,
            r#"{"aws_access_key_id":"AKIAIOSFODNN7EXAMPLE","aws_secret_access_key":"secret","aws_session_token":null}"#,
        ] {
            assert_eq!(parse(json).unwrap().secret_access_key.dangerous_expose(), b"secret");
        }
        for bad in [
            "",
            "AKIAIOSFODNN7EXAMPLE",
            "AKIAIOSFODNN7EXAMPLE:",
            "short:secret",
            "AKIAIOSFODNN7EXAMPLE:a b",
            "AKIAIOSFODNN7EXAMPLE:a:b:c",
            "AKIAIOSFODNN7/XAMPLE:secret",
            r#"{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE"}"#,
        ] {
            assert_eq!(parse(bad), Err(NoCredentials), "{bad}");
        }
    }
}
