//! Where a server is: `https://host:port`, or `http://` on this machine alone.

use std::{fmt, str::FromStr};

use chiton_policy::{Host, Port};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    tls: bool,
    host: Host,
    port: Port,
}

/// Why a text is no address. It is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is written in another way.
    #[error("expected `https://host:port`, with nothing after it")]
    Form,
    /// Secrets would go over a network in the clear.
    #[error(
        "`http://` would send secrets in the clear; it is taken for a loopback address only, so use `https://`"
    )]
    Clear,
}

impl ServerAddress {
    /// `https://host:port`; without a port the one that is usual.
    pub(crate) fn parse(text: &str, usual: impl Fn(Tls) -> u16) -> Result<Self, AddressError> {
        let address = Self::parse_any(text, usual)?;
        if !address.tls && !address.is_here() {
            return Err(AddressError::Clear);
        }
        Ok(address)
    }

    /// As that, where whoever asks knows which servers may be asked in the clear.
    pub(crate) fn parse_any(text: &str, usual: impl Fn(Tls) -> u16) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Form)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(AddressError::Form),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let with_port = rest
            .rsplit_once(':')
            .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let (host, port) = match with_port {
            Some((host, port)) => (host, port.parse().map_err(|_| AddressError::Form)?),
            None => (rest, usual(Tls(tls))),
        };
        let host = Host::parse(host).map_err(|_| AddressError::Form)?;
        let port = Port::new(port).ok_or(AddressError::Form)?;
        Ok(Self { tls, host, port })
    }

    pub(crate) const fn tls(&self) -> bool {
        self.tls
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) const fn port(&self) -> Port {
        self.port
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// As a `Host` field has it: without the scheme's own port.
    pub(crate) fn host_field(&self) -> String {
        let own = web_port(Tls(self.tls)) == self.port.get();
        if own { self.host.to_string() } else { self.authority() }
    }

    /// Whether it is this machine.
    pub(crate) fn is_here(&self) -> bool {
        match &self.host {
            Host::Name(name) => name.as_str() == "localhost",
            Host::Ip(address) => address.is_loopback(),
        }
    }
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tls(pub(crate) bool);

/// The ports of the web.
pub(crate) const fn web_port(Tls(tls): Tls) -> u16 {
    if tls { 443 } else { 80 }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, web_port)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_own_port_is_not_in_the_host_field() {
        for (text, field) in [
            ("https://sts.amazonaws.com", "sts.amazonaws.com"),
            ("https://sts.amazonaws.com:443/", "sts.amazonaws.com"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().host_field(), field);
        }
        assert_eq!("http://sts.amazonaws.com".parse::<ServerAddress>(), Err(AddressError::Clear));
    }
}
