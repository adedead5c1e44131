//! Where a Vault is: `https://host:port`, or `http://` on this machine alone.

use std::{fmt, str::FromStr};

use chiton_policy::{Host, Port};

/// Vault's own port.
const USUAL_PORT: u16 = 8200;

/// Where a Vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultAddress {
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
    /// A token would go over a network in the clear.
    #[error(
        "`http://` would send the token in the clear; it is taken for a loopback address only, so use `https://`"
    )]
    Clear,
}

impl VaultAddress {
    pub(super) const fn tls(&self) -> bool {
        self.tls
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    pub(super) const fn port(&self) -> Port {
        self.port
    }

    /// As a `Host` field has it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for VaultAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
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
            None => (rest, USUAL_PORT),
        };
        let host = Host::parse(host).map_err(|_| AddressError::Form)?;
        let port = Port::new(port).ok_or(AddressError::Form)?;
        if !tls && !is_here(&host) {
            return Err(AddressError::Clear);
        }
        Ok(Self { tls, host, port })
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Name(name) => name.as_str() == "localhost",
        Host::Ip(address) => address.is_loopback(),
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_host_and_port_and_never_in_the_clear_over_a_network() {
        for (text, shown) in [
            ("https://vault.corp:8200", "https://vault.corp:8200"),
            ("https://Vault.corp/", "https://vault.corp:8200"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("http://localhost", "http://localhost:8200"),
        ] {
            assert_eq!(text.parse::<VaultAddress>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        assert_eq!("http://vault.corp:8200".parse::<VaultAddress>(), Err(AddressError::Clear));
        for text in
            ["vault.corp:8200", "https://", "https://me:pass@vault.corp", "https://v.corp/v1", "ftp://v.corp"]
        {
            assert_eq!(text.parse::<VaultAddress>(), Err(AddressError::Form), "{text}");
        }
    }
}
