//! The dynamic half: what the agent may reach, and as whom.

use std::{fmt, net::IpAddr, str::FromStr};

use chiton_secret::SecretRef;

use super::{base_url::BaseUrl, credential::Credential, sandbox::ByteSize};
use crate::{
    names::{Host, Method, Port, RuleName, Scheme},
    patterns::{BinaryPattern, HostPattern, PathPattern, TextGlob},
    provider::Provider,
};

/// What can be replaced while a sandbox runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dynamic {
    /// Whether refusals hold or are only recorded.
    pub mode: Mode,
    /// `network.http`
    pub http: Vec<HttpRule>,
    /// `network.tcp`
    pub tcp: Vec<TcpRule>,
    /// `llm_routing`
    pub llm: Vec<LlmRoute>,
}

/// `dynamic.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What is not allowed is refused.
    #[default]
    Enforce,
    /// What would be refused is recorded and passes; credentials, SSRF and DNS protection hold.
    Audit,
}

/// One entry of `network.http`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// Its label, or its place.
    pub name: RuleName,
    /// Whether the name was given in the document.
    pub named: bool,
    /// Which hosts.
    pub host: HostPattern,
    /// Which ports; never empty.
    pub ports: Vec<Port>,
    /// Over TLS or in the clear.
    pub scheme: Scheme,
    /// Which methods.
    pub methods: MethodSet,
    /// Which paths; none means any.
    pub paths: Option<Vec<PathPattern>>,
    /// Parameters that must be there, and match in every repetition.
    pub query: Vec<(String, TextGlob)>,
    /// What is refused whatever allows it.
    pub deny: Vec<DenyRule>,
    /// Which executables may use the rule; none means any.
    pub binaries: Option<Vec<BinaryPattern>>,
    /// Whether a matching GET may be upgraded.
    pub websocket: bool,
    /// Whether TLS is ended here.
    pub tls: TlsMode,
    /// Whether the host may resolve to a private address.
    pub private_addresses: bool,
    /// The only addresses that the host may resolve to; empty means no such limit.
    pub allowed_addresses: Vec<Cidr>,
    /// Whether `%2F` may stand inside a path segment.
    pub encoded_slash: bool,
    /// Added after the decision, upstream only.
    pub credential: Option<Credential>,
    /// How often, how much.
    pub limits: RequestLimits,
}

/// Which methods a rule allows, or a deny refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodSet {
    /// Any but CONNECT.
    Any,
    /// These, and HEAD where GET is one.
    These(Vec<Method>),
}

/// One entry of a rule's `deny`. An absent field means any.
#[derive(Clone, Debug, PartialEq)]
pub struct DenyRule {
    /// Which methods.
    pub methods: Option<MethodSet>,
    /// Which paths.
    pub paths: Option<Vec<PathPattern>>,
    /// Which parameters.
    pub query: Vec<(String, TextGlob)>,
}

/// `tls`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS is ended and every request judged.
    #[default]
    Inspect,
    /// Server name and address are compared, nothing else.
    Passthrough,
}

/// One entry of `network.tcp`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRule {
    /// Its place.
    pub name: RuleName,
    /// Which hosts.
    pub host: HostPattern,
    /// Which ports; never empty.
    pub ports: Vec<Port>,
    /// Which executables; none means any.
    pub binaries: Option<Vec<BinaryPattern>>,
    /// Whether the host may resolve to a private address.
    pub private_addresses: bool,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a range of addresses: write it as `10.0.0.0/8` or `fd00::/8`, with no bits after the prefix")]
pub struct CidrError;

impl Cidr {
    /// Whether an address is in the range. An IPv4-mapped address is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                net.to_bits() == address.to_bits() & mask32(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                net.to_bits() == address.to_bits() & mask128(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| CidrError)?
            }
            Some(_) => return Err(CidrError),
            None => bits,
        };
        let cidr = Self { address, prefix };
        if prefix > bits || !cidr.contains(address) { Err(CidrError) } else { Ok(cidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// `limits` of an `http` rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Bytes of a request's body.
    pub request_body: Option<ByteSize>,
    /// Bytes of a response's body.
    pub response_body: Option<ByteSize>,
}

/// One route of `llm_routing`, or one of its fallbacks.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmRoute {
    /// Its name in decisions: `llm_routing`, or `llm_routing[0]` in a list.
    pub name: RuleName,
    /// Whose API it speaks.
    pub provider: Provider,
    /// Whose API is spoken behind, where that is another: calls are translated.
    pub backend_provider: Option<Provider>,
    /// Another backend with that API.
    pub base_url: Option<BaseUrl>,
    /// Whether every credential that the agent sends is removed.
    pub strip_caller_credentials: bool,
    /// The backend's credential.
    pub inject_backend_credential: Option<SecretRef>,
    /// Allowed model names; none means any.
    pub models: Option<Vec<TextGlob>>,
    /// From the name that the agent asks for to the name that is sent.
    pub model_alias: Vec<(String, String)>,
    /// How often, how much.
    pub limits: LlmLimits,
    /// Further routes to try.
    pub fallback: Vec<LlmRoute>,
}

impl LlmRoute {
    /// Whose API its backend speaks.
    #[must_use]
    pub fn behind(&self) -> Provider {
        self.backend_provider.unwrap_or(self.provider)
    }

    /// Where its requests go; none where it has to say so and does not.
    #[must_use]
    pub fn backend(&self) -> Option<BaseUrl> {
        if let Some(url) = &self.base_url {
            return Some(url.clone());
        }
        let facts = self.behind().facts();
        match (facts.backend, facts.host) {
            (Some(url), _) => url.parse().ok(),
            (None, Some(host)) => Some(BaseUrl {
                scheme: Scheme::Https,
                host: Host::parse(host).ok()?,
                port: Scheme::Https.default_port(),
                prefix: facts.base.into(),
            }),
            (None, None) => None,
        }
    }

    /// The host by which programs reach it: the provider's, or the backend's own where the provider has none.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        if let Some(host) = self.provider.facts().host {
            return Host::parse(host).ok();
        }
        // Another API's backend is not where programs look for this one.
        let url = self.base_url.as_ref().filter(|_| self.backend_provider.is_none())?;
        let usual = url.scheme == Scheme::Https && url.port == Scheme::Https.default_port();
        (usual && url.host.name().is_some()).then(|| url.host.clone())
    }

    /// This route, then those that are tried after it.
    pub fn with_fallbacks(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.fallback)
    }

    /// This fallback with what it takes over from its route: models and aliases, where it has none of its own, and whose
    /// API the agent speaks, where that is another.
    pub(crate) fn inheriting(&self, outer: &Self) -> Self {
        let mut own = self.clone();
        if !outer.provider.shares_calls_with(own.provider) && outer.provider.translates_to(own.provider) {
            own.backend_provider = Some(std::mem::replace(&mut own.provider, outer.provider));
            // They are another API's.
            own.strip_caller_credentials = true;
        }
        own.models = own.models.or_else(|| outer.models.clone());
        if own.model_alias.is_empty() {
            own.model_alias.clone_from(&outer.model_alias);
        }
        own
    }

    /// Whether nothing would reach this route that does not reach the other one.
    pub(crate) fn is_same_way(&self, other: &Self) -> bool {
        self.provider == other.provider && self.host() == other.host()
    }

    /// The name that is sent for one that the agent asks for.
    #[must_use]
    pub fn sent_model<'a>(&'a self, asked: &'a str) -> &'a str {
        self.model_alias.iter().find(|(from, _)| from == asked).map_or(asked, |(_, sent)| sent)
    }

    /// Whether a call may name this model upstream.
    #[must_use]
    pub fn allows_model(&self, sent: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|known| known.matches(sent.as_bytes())))
    }
}

/// `limits` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlmLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a day.
    pub tokens_per_day: Option<u64>,
    /// Dollars in a day.
    pub usd_per_day: Option<Usd>,
}

impl LlmLimits {
    /// Whether what calls spend is limited, and not how many there are alone.
    #[must_use]
    pub const fn of_spending(&self) -> bool {
        self.tokens_per_day.is_some() || self.usd_per_day.is_some()
    }
}

/// An amount of money, in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usd {
    /// Millionths of a dollar.
    pub micros: u64,
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn ranges() {
        let range: Cidr = "10.1.0.0/16".parse().unwrap();
        assert!(range.contains("10.1.2.3".parse().unwrap()));
        assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!range.contains("10.2.0.0".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!("::/0".parse::<Cidr>().is_ok());
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "x/8", ""] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
