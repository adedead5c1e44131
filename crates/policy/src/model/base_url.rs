//! Where a backend is.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    canonical::is_canonical_path,
    compile::is_internal,
    names::{Host, HostError, Port, Scheme},
};

/// The address of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Over TLS or in the clear.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: Port,
    /// What stands before the path of an endpoint, without a trailing slash.
    pub prefix: Arc<str>,
}

/// Why a text is no base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It is no URL of http or https.
    #[error("a base URL is as `https://llm.example.com/v1`")]
    Form,
    /// It has more than that.
    #[error("a base URL has no user, query or fragment")]
    More,
    /// Servers could read its path in two ways.
    #[error("the path of a base URL is written plainly: no `//`, `.`, `..`, or `%` where none is needed")]
    Path,
    /// It would lead a route to itself.
    #[error("this name exists inside only: a backend is somewhere else")]
    Internal,
    /// Its host is none.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(BaseUrlError::Form)?;
        let scheme =
            Scheme::ALL.into_iter().find(|known| known.as_str() == scheme).ok_or(BaseUrlError::Form)?;
        let (authority, path) =
            rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).ok_or(BaseUrlError::Form)?;
        if rest.contains(['?', '#', '@']) {
            return Err(BaseUrlError::More);
        }
        let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let colon =
            authority.get(after_bracket..).and_then(|rest| rest.find(':')).map(|at| after_bracket + at);
        let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
            Some((host, port)) => {
                let number = port.get(1..).and_then(|digits| digits.parse().ok());
                (host, number.and_then(Port::new).ok_or(BaseUrlError::Form)?)
            }
            None => (authority, scheme.default_port()),
        };
        let host = Host::parse(host)?;
        if is_internal(&host) {
            return Err(BaseUrlError::Internal);
        }
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if prefix.ends_with('/') || !prefix.is_empty() && !is_canonical_path(prefix) {
            return Err(BaseUrlError::Path);
        }
        Ok(Self { scheme, host, port, prefix: prefix.into() })
    }
}

impl BaseUrl {
    /// Whether only the operator can open it, by `[llm] allow`: it is in the clear, or on the operator's own machine.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        let local = match &self.host {
            Host::Ip(address) => address.is_loopback(),
            Host::Name(name) => name.as_str() == "localhost" || name.as_str().ends_with(".localhost"),
        };
        local || self.scheme == Scheme::Http
    }

    /// Whether another lies at or below it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let below = other.prefix.strip_prefix(&*self.prefix);
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The value of `Host` for it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = &self.host;
        if self.port == self.scheme.default_port() {
            host.to_string()
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints() {
        for (text, printed) in [
            ("https://llm.example.com/v1/", "https://llm.example.com/v1"),
            ("https://LLM.example.com:443", "https://llm.example.com"),
            ("http://127.0.0.1:8000/a/b", "http://127.0.0.1:8000/a/b"),
            ("http://[::1]:8000/", "http://[::1]:8000"),
        ] {
            assert_eq!(url(text).to_string(), printed);
            assert_eq!(url(printed), url(text));
        }
        for text in [
            "llm.example.com",
            "ftp://a.test",
            "https://",
            "https://a.test:0",
            "https://a.test?x",
            "https://u@a.test",
            "https://a.test/#x",
            "https://a.test//",
            "https://a.test/a/../b",
            "https://a.test/a%2fb",
            "https://a.test/a b",
            "https://a.test/%61",
            "https://llm.internal/v1",
            "https://openai.llm.internal",
            "http://chiton.internal",
        ] {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_only_the_operator_opens() {
        for text in [
            "http://llm.corp/v1",
            "https://127.0.0.1",
            "https://127.9.9.9:1",
            "https://localhost:8000",
            "https://a.localhost",
            "https://[::1]",
        ] {
            assert!(url(text).needs_operator(), "{text}");
        }
        assert!(!url("https://llm.corp:8443/v1").needs_operator());
        let open = url("http://127.0.0.1:8000/v1");
        for (text, covered) in [
            ("http://127.0.0.1:8000/v1", true),
            ("http://127.0.0.1:8000/v1/x", true),
            ("http://127.0.0.1:8000/v11", false),
            ("http://127.0.0.1:8000", false),
            ("https://127.0.0.1:8000/v1", false),
            ("http://127.0.0.1:8001/v1", false),
            ("http://127.0.0.2:8000/v1", false),
        ] {
            assert_eq!(open.covers(&url(text)), covered, "{text}");
        }
    }
}
