//! Where a Vault is.

use std::{fmt, str::FromStr};

use crate::{AddressError, ServerAddress};

/// Vault's own port.
const USUAL_PORT: u16 = 8200;

/// Where a Vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultAddress(ServerAddress);

impl VaultAddress {
    pub(super) const fn server(&self) -> &ServerAddress {
        &self.0
    }
}

impl FromStr for VaultAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        ServerAddress::parse(text, |_| USUAL_PORT).map(Self)
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
