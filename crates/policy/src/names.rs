//! Names that a policy and a request share: hosts, ports, schemes, methods, rules.
//!
//! Everything here is parsed once, at the edge, into its one canonical form. Comparing two values of
//! these types is comparing what they mean.

use std::{fmt, net::IpAddr, num::NonZeroU16, sync::Arc};

use serde::{Deserialize, Serialize};

/// A host in canonical form: an address, or a name in lower-case A-labels without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A literal address, never an IPv4-mapped one.
    Ip(IpAddr),
    /// A name.
    Name(HostName),
}

/// A DNS name in lower-case A-labels, without a trailing dot. Never something that reads as an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// A label is empty, too long, or holds what no host name holds.
    #[error("not a host name")]
    NotAName,
    /// Decimal, octal, hexadecimal, shortened or mapped IPv4, which programs read differently.
    #[error(
        "an address in a form that programs read differently: write four decimal numbers, as `203.0.113.7`"
    )]
    OddAddress,
    /// Brackets without an IPv6 address in them.
    #[error("not an IPv6 address")]
    NotIpv6,
}

impl Host {
    /// Reads a host as it stands in an authority: a name, an IPv4 address, or IPv6 in brackets.
    ///
    /// # Errors
    /// When it is not a host, or an address in a form that programs read differently.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::NotIpv6)?;
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| HostError::NotIpv6)?;
            return match address.to_ipv4_mapped() {
                // Programs differ on whether this is the IPv4 address.
                Some(_) => Err(HostError::OddAddress),
                None => Ok(Self::Ip(IpAddr::V6(address))),
            };
        }
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() {
            return Err(HostError::Empty);
        }
        let name = canonical_name(bare)?;
        if reads_as_ipv4(&name) {
            // Only four plain decimal numbers are read the same way by every program.
            let address = name.parse::<std::net::Ipv4Addr>().map_err(|_| HostError::OddAddress)?;
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        Ok(Self::Name(HostName(name.into())))
    }

    /// The name, where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name.as_str()),
            Host::Ip(_) => None,
        }
    }

    /// The address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(address) => Some(*address),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Name(name) => f.write_str(name.as_str()),
        }
    }
}

impl HostName {
    /// The labels, joined by dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this name with one label or more before it.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0.strip_suffix(&*parent.0).is_some_and(|before| before.ends_with('.'))
    }
}

/// Lower-case A-labels of a name without its trailing dot.
pub(crate) fn canonical_name(bare: &str) -> Result<String, HostError> {
    let plain = bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let name = if plain && !has_a_label(bare) {
        bare.to_ascii_lowercase()
    } else {
        let idn = bare
            .bytes()
            .all(|b| !b.is_ascii() || b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !idn {
            return Err(HostError::NotAName);
        }
        idna::domain_to_ascii(bare).map_err(|_| HostError::NotAName)?
    };
    let labels = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    });
    if labels && name.len() <= 253 { Ok(name) } else { Err(HostError::NotAName) }
}

fn has_a_label(name: &str) -> bool {
    name.split('.').any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

/// Whether some resolver would read this as an IPv4 number: its last label is decimal, octal or hexadecimal.
pub(crate) fn reads_as_ipv4(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// A port that can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(NonZeroU16);

impl Port {
    /// A port from its number; none for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 2] = [Scheme::Https, Scheme::Http];

    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
        }
    }

    /// The port meant when none is named.
    #[must_use]
    pub const fn default_port(self) -> Port {
        match self {
            Scheme::Https => Port(NonZeroU16::MIN.saturating_add(442)),
            Scheme::Http => Port(NonZeroU16::MIN.saturating_add(79)),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request method, case-sensitive as HTTP has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(Arc<str>);

impl Method {
    /// A method from its name; none when it is not a token.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let token = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token_byte);
        token.then(|| Self(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a byte may stand in a method or a header's name.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What a rule is called in decisions and events: its label, or its place as in `http[0]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(Arc<str>);

impl RuleName {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvName(Arc<str>);

/// The variable that names the sandbox inside.
pub const SANDBOX_VARIABLE: &str = "CHITON_SANDBOX";

/// The variables by which programs find the roots that they trust; inside, the sandbox's own authority is among
/// them.
pub const TRUST_VARIABLES: [&str; 10] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "npm_config_cafile",
    "DENO_CERT",
];

impl EnvName {
    /// Whether the sandbox alone sets this variable: its name, and where its trusted roots are. Whoever else would
    /// is refused; a program inside may still set it for its own children.
    #[must_use]
    pub fn is_sandboxs(name: &str) -> bool {
        name == SANDBOX_VARIABLE || TRUST_VARIABLES.contains(&name)
    }

    /// A variable's name; none when it is not letters, digits and `_`, or begins with a digit.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        good.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, HostError};

    fn canonical(text: &str) -> Result<String, HostError> {
        Host::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn one_form_for_one_host() {
        for (text, form) in [
            ("API.Example.COM", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("203.0.113.7", "203.0.113.7"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("_dmarc.example.com", "_dmarc.example.com"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(form), "{text}");
        }
    }

    #[test]
    fn odd_addresses_are_no_names() {
        for text in [
            "3405803783",
            "0xcb007107",
            "0313.0.0161.7",
            "203.0.113",
            "1.2.3.0x4",
            "a.b.7",
            "[::ffff:203.0.113.7]",
        ] {
            assert_eq!(canonical(text), Err(HostError::OddAddress), "{text}");
        }
        for text in ["", ".", "a..b", "a b", "a%2eb", "a/b", "a.b..", "[::1", "[fe80::1%25eth0]", "x\0.com"] {
            assert!(canonical(text).is_err(), "{text}");
        }
    }
}
