//! `credential` of an `http` rule: whose secret, and where in a request it stands.

use std::{fmt, sync::Arc};

use chiton_secret::SecretRef;

use crate::names::{EnvName, is_token_byte};

/// `credential`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Where the value is kept.
    pub secret: SecretRef,
    /// Where it stands in a request.
    pub place: CredentialPlace,
    /// The variable that holds a placeholder inside.
    pub env: Option<EnvName>,
}

impl Credential {
    /// Whether both add the same to a request. What stands inside for it does not count.
    #[must_use]
    pub fn sends_as(&self, other: &Self) -> bool {
        self.secret == other.secret && self.place == other.place
    }
}

/// Where a secret stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialPlace {
    /// In a header.
    Header {
        /// Which one.
        name: HeaderName,
        /// How the value stands in it.
        format: CredentialFormat,
    },
    /// As the password of `Authorization: Basic` (RFC 7617), with this user.
    Basic(BasicUser),
    /// As a parameter of the query.
    Query(ParameterName),
    /// As a cookie.
    Cookie(CookieName),
    /// Nowhere itself: it is an AWS key, by which the request is signed (Signature Version 4).
    Aws,
}

impl CredentialPlace {
    /// The header that it is added to; none where it is added to the query.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name.as_str()),
            Self::Basic(_) | Self::Aws => Some("authorization"),
            Self::Cookie(_) => Some("cookie"),
            Self::Query(_) => None,
        }
    }
}

impl fmt::Display for CredentialPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, format } => write!(f, "`{}: {}`", name.as_str(), format.as_str()),
            Self::Basic(user) => write!(f, "the password of `{}` (Basic)", user.as_str()),
            Self::Query(name) => write!(f, "the parameter `{}`", name.as_str()),
            Self::Cookie(name) => write!(f, "the cookie `{}`", name.as_str()),
            Self::Aws => f.write_str("an AWS signature"),
        }
    }
}

/// The name of a header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(Arc<str>);

impl HeaderName {
    /// A header's name; none when it is not a token, or one that says how a message is framed, routed or coded.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        const TAKEN: [&str; 21] = [
            "host",
            "content-length",
            "content-encoding",
            "content-type",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "http2-settings",
            "expect",
            "accept-encoding",
            "range",
            "if-range",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ];
        const FAMILIES: [&str; 3] = ["sec-websocket-", "grpc-", "connect-"];
        let name = name.to_ascii_lowercase();
        let good = !name.is_empty() && name.bytes().all(is_token_byte);
        let taken = TAKEN.contains(&name.as_str()) || FAMILIES.iter().any(|family| name.starts_with(family));
        (good && !taken).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A header's value with `{}` where the secret goes, as `Bearer {}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialFormat(Arc<str>);

impl CredentialFormat {
    /// A format; none when there is not exactly one `{}`, or something that no header may hold.
    #[must_use]
    pub fn new(format: &str) -> Option<Self> {
        let once = format.matches("{}").count() == 1;
        (once && format.bytes().all(|b| (b' '..=b'~').contains(&b))).then(|| Self(format.into()))
    }

    /// What stands before and after the secret.
    #[must_use]
    pub fn around(&self) -> (&str, &str) {
        self.0.split_once("{}").unwrap_or((&self.0, ""))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user of Basic authentication; may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BasicUser(Arc<str>);

impl BasicUser {
    /// A user; none when it has a colon, which would end it, or a control character, or is longer than any.
    #[must_use]
    pub fn new(user: &str) -> Option<Self> {
        let good = user.len() <= 256 && !user.chars().any(|c| c == ':' || c.is_control());
        good.then(|| Self(user.into()))
    }

    /// The user.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a parameter of the query, of characters that are never written in another way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterName(Arc<str>);

impl ParameterName {
    /// A name; none when it is empty, long, or has other characters than letters, digits and `-._~`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        ((1..=64).contains(&name.len()) && name.bytes().all(plain)).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieName(Arc<str>);

impl CookieName {
    /// A name; none when it is no token (RFC 6265, 4.1.1), or long.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        ((1..=64).contains(&name.len()) && name.bytes().all(is_token_byte)).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{BasicUser, CookieName, CredentialFormat, HeaderName, ParameterName};

    #[test]
    fn headers_and_formats() {
        assert!(HeaderName::new("Authorization").is_some() && HeaderName::new("PRIVATE-TOKEN").is_some());
        for name in ["Host", "a b", "", "Connection", "Accept-Encoding", "Sec-WebSocket-Key", "grpc-timeout"]
        {
            assert!(HeaderName::new(name).is_none(), "{name}");
        }
        assert_eq!(CredentialFormat::new("Bearer {}").unwrap().around(), ("Bearer ", ""));
        assert!(CredentialFormat::new("Bearer").is_none() && CredentialFormat::new("{}{}").is_none());
        assert!(CredentialFormat::new("{}\n").is_none());
    }

    #[test]
    fn users_parameters_and_cookies() {
        assert!(BasicUser::new("").is_some() && BasicUser::new("x-access-token").is_some());
        assert!(BasicUser::new("a:b").is_none() && BasicUser::new("a\r\n").is_none());
        assert!(ParameterName::new("api_key").is_some());
        for name in ["", "a b", "a=b", "a&b", "%6b", "a[]"] {
            assert!(ParameterName::new(name).is_none(), "{name}");
        }
        assert!(CookieName::new("session").is_some());
        assert!(CookieName::new("a;b").is_none() && CookieName::new("a=b").is_none());
    }
}
