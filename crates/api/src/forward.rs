//! `[upstream] proxy` of `config.toml`: the operator's forward proxy, and what does not go through it.
//!
//! Parsed where it is read, and again from the same text where a control link ends.

use std::{fmt, net::IpAddr, str::FromStr};

use chiton_policy::{
    Host, HostName, Port,
    model::{Cidr, CidrError},
};
use serde::{Deserialize, Serialize};

use crate::control::Credential;

/// A forward proxy, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardProxy {
    /// Where it is.
    pub url: ProxyUrl,
    /// `user:password` for it, resolved.
    pub credential: Option<Credential>,
    /// It resolves names, and is told names.
    pub resolves: bool,
    /// What is dialled directly.
    pub except: Vec<Exception>,
}

/// Where a forward proxy is: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyUrl {
    tls: bool,
    host: Host,
    port: Port,
}

/// Why a text is no forward proxy. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// Another protocol, or none.
    #[error(
        "a proxy is written as `http://host:port` or `https://host:port`; other kinds, such as SOCKS, are not supported"
    )]
    Scheme,
    /// A user stands in it.
    #[error(
        "a proxy's user and password do not stand here: store `user:password` with `chiton secret set NAME`, and name it with `proxy_credential = \"local://NAME\"`"
    )]
    User,
    /// No host or no port, or something after it.
    #[error("a proxy is written as `http://host:port`, with its port and nothing after it")]
    Place,
}

impl ProxyUrl {
    /// Whether it is spoken to over TLS.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// Its host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::Scheme)?;
        if rest.contains('@') {
            return Err(ProxyUrlError::User);
        }
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(ProxyUrlError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or(ProxyUrlError::Place)?;
        let host = Host::parse(host).map_err(|_| ProxyUrlError::Place)?;
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| plain).and_then(Port::new).ok_or(ProxyUrlError::Place)?;
        Ok(Self { tls, host, port })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = ProxyUrlError;

    fn try_from(text: String) -> Result<Self, ProxyUrlError> {
        text.parse()
    }
}

impl From<ProxyUrl> for String {
    fn from(url: ProxyUrl) -> Self {
        url.to_string()
    }
}

/// An entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Exception {
    /// `host.example`: this name.
    Name(HostName),
    /// `.corp.example`: every name below it.
    Below(HostName),
    /// `10.0.0.0/8`, `10.0.0.7`: addresses.
    Range(Cidr),
}

/// Why a text is no exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExceptionError {
    /// It would be everything.
    #[error("`*` is no exception, since it would be everything: leave `proxy` out instead")]
    Everything,
    /// A range that is none.
    #[error("`{0}` is {1}")]
    Range(String, CidrError),
    /// Neither.
    #[error(
        "`{0}` is no exception: write a name (`host.example`), all names below one (`.corp.example`), or a range of addresses (`10.0.0.0/8`), without a port or a `*`"
    )]
    Form(String),
}

impl Exception {
    /// Whether this host is excepted as it is named; an address is one too.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(name), Host::Name(host)) => name == host,
            (Self::Below(parent), Host::Name(host)) => host.is_below(parent),
            (Self::Range(_), Host::Ip(address)) => self.contains(*address),
            (Self::Name(_) | Self::Below(_), Host::Ip(_)) | (Self::Range(_), Host::Name(_)) => false,
        }
    }

    /// Whether this address is excepted.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Range(range) => range.contains(address),
            Self::Name(_) | Self::Below(_) => false,
        }
    }
}

impl FromStr for Exception {
    type Err = ExceptionError;

    fn from_str(text: &str) -> Result<Self, ExceptionError> {
        if text == "*" {
            return Err(ExceptionError::Everything);
        }
        if text.contains('/') || text.parse::<IpAddr>().is_ok() {
            return text
                .parse()
                .map(Self::Range)
                .map_err(|error| ExceptionError::Range(text.to_owned(), error));
        }
        let form = || ExceptionError::Form(text.to_owned());
        let (name, below) = text.strip_prefix('.').map_or((text, false), |name| (name, true));
        match Host::parse(name).map_err(|_| form())? {
            Host::Name(name) if below => Ok(Self::Below(name)),
            Host::Name(name) => Ok(Self::Name(name)),
            Host::Ip(_) => Err(form()),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Below(name) => write!(f, ".{}", name.as_str()),
            Self::Range(range) => write!(f, "{range}"),
        }
    }
}

impl TryFrom<String> for Exception {
    type Error = ExceptionError;

    fn try_from(text: String) -> Result<Self, ExceptionError> {
        text.parse()
    }
}

impl From<Exception> for String {
    fn from(exception: Exception) -> Self {
        exception.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_scheme_a_host_and_a_port_and_nothing_else() {
        for good in ["http://proxy.corp:3128", "https://proxy.corp:443", "http://[2001:db8::1]:3128"] {
            assert_eq!(good.parse::<ProxyUrl>().unwrap().to_string(), good);
        }
        assert_eq!("http://PROXY.corp:1/".parse::<ProxyUrl>().unwrap().to_string(), "http://proxy.corp:1");
        for (bad, why) in [
            ("proxy.corp:3128", ProxyUrlError::Scheme),
            ("socks5://proxy.corp:1080", ProxyUrlError::Scheme),
            ("http://u:secret@proxy.corp:3128", ProxyUrlError::User),
            ("http://proxy.corp", ProxyUrlError::Place),
            ("http://proxy.corp:0", ProxyUrlError::Place),
            ("http://proxy.corp:3128/path", ProxyUrlError::Place),
            ("http://:3128", ProxyUrlError::Place),
        ] {
            let error = bad.parse::<ProxyUrl>().unwrap_err();
            assert_eq!(error, why, "{bad}");
            assert!(!error.to_string().contains("secret@"));
        }
    }

    #[test]
    fn an_exception_is_a_name_all_below_one_or_a_range() {
        let matches = |exception: &str, host: &str| {
            exception.parse::<Exception>().unwrap().matches(&Host::parse(host).unwrap())
        };
        assert!(matches("host.example", "HOST.example"));
        assert!(!matches("host.example", "a.host.example"));
        assert!(matches(".corp.example", "a.b.corp.example"));
        assert!(!matches(".corp.example", "corp.example"));
        assert!(!matches(".corp.example", "evilcorp.example"));
        assert!(matches(".corp", "git.corp"));
        assert!(matches("10.0.0.0/8", "10.1.2.3") && matches("10.0.0.7", "10.0.0.7"));
        assert!(!matches("10.0.0.0/8", "11.1.2.3") && !matches("10.0.0.0/8", "ten.example"));
        for bad in
            ["*", "*.corp", "", ".", "host:443", "10.0.0.1/8", "10.0.0.0/40", "10.0.0", "a b", "http://x"]
        {
            assert!(bad.parse::<Exception>().is_err(), "{bad:?}");
        }
    }
}
