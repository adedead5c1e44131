//! Real addresses of upstream names: the operator's entries, the host's table, then the host's name servers.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use chiton_policy::{Host, HostName};
use hickory_resolver::{
    Resolver as Hickory, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};
use tokio::{sync::OnceCell, time::timeout};

use crate::limits;

/// What the host says about names, read before the proxy gives up its files.
#[derive(Debug, Default)]
pub(crate) struct SystemNames {
    hosts: HashMap<String, Vec<IpAddr>>,
    servers: Option<(ResolverConfig, ResolverOpts)>,
}

impl SystemNames {
    /// Reads `/etc/hosts` and `/etc/resolv.conf`. What is not there is empty.
    pub(crate) fn read() -> Self {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let servers = std::fs::read("/etc/resolv.conf").ok().and_then(|text| parse_resolv_conf(text).ok());
        Self { hosts: parse_hosts(&hosts), servers }
    }

    /// A name as the host's table would have it.
    #[cfg(test)]
    pub(crate) fn add(&mut self, name: &str, address: IpAddr) {
        self.hosts.entry(name.to_owned()).or_default().push(address);
    }
}

fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let addresses = hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The host has no name servers.
    #[error("the host of the sandbox has no name servers: `/etc/resolv.conf` names none")]
    NoServers,
    /// No answer with an address.
    #[error("cannot resolve `{name}`: {why}")]
    Failed {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
}

/// An entry of `[upstream.resolve]` that is none.
#[derive(Debug, thiserror::Error)]
#[error("`[upstream.resolve]` has the entry `{key}` = `{value}`: expected `host:port` = `address:port`")]
pub(crate) struct BadOverride {
    key: String,
    value: String,
}

/// Resolves names.
pub(crate) struct Resolver {
    system: SystemNames,
    overrides: HashMap<(Host, u16), SocketAddr>,
    servers: OnceCell<TokioResolver>,
}

impl Resolver {
    /// With the operator's entries over the system's.
    pub(crate) fn new(system: SystemNames, resolve: &BTreeMap<String, String>) -> Result<Self, BadOverride> {
        let mut overrides = HashMap::new();
        for (key, value) in resolve {
            let bad = || BadOverride { key: key.clone(), value: value.clone() };
            let (host, port) = key.rsplit_once(':').ok_or_else(bad)?;
            let host = Host::parse(host).map_err(|_| bad())?;
            let port = port.parse().map_err(|_| bad())?;
            overrides.insert((host, port), value.parse().map_err(|_| bad())?);
        }
        Ok(Self { system, overrides, servers: OnceCell::new() })
    }

    /// The operator's own address for a host and port, trusted as it is.
    pub(crate) fn overridden(&self, host: &Host, port: u16) -> Option<SocketAddr> {
        if self.overrides.is_empty() {
            return None;
        }
        self.overrides.get(&(host.clone(), port)).copied()
    }

    /// Whether the host's own table has this name.
    pub(crate) fn is_in_table(&self, name: &HostName) -> bool {
        self.system.hosts.contains_key(name.as_str())
    }

    /// Every address of a name, asked once.
    pub(crate) async fn addresses(&self, name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(addresses) = self.system.hosts.get(name.as_str()) {
            return Ok(addresses.clone());
        }
        let failed = |why: String| ResolveError::Failed { name: name.as_str().to_owned(), why };
        let servers = self.servers.get_or_try_init(|| async { self.build() }).await?;
        // The final dot: no search domain of the host is ever tried.
        let question = format!("{}.", name.as_str());
        let answer = match timeout(limits::RESOLVE, servers.lookup_ip(question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("the name servers do not answer".to_owned())),
        };
        let addresses: Vec<IpAddr> = answer.iter().collect();
        if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
    }

    fn build(&self) -> Result<TokioResolver, ResolveError> {
        let (config, mut options) = self.system.servers.clone().ok_or(ResolveError::NoServers)?;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 256;
        let builder =
            Hickory::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        builder.build().map_err(|_| ResolveError::NoServers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_host_table() {
        let hosts =
            parse_hosts("127.0.0.1 localhost # me\n::1 localhost\n10.1.2.3 Git.Corp. git\nnonsense x\n");
        assert_eq!(hosts["localhost"].len(), 2);
        assert_eq!(hosts["git.corp"], ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert!(!hosts.contains_key("x"));
    }

    #[test]
    fn overrides_are_by_host_and_port() {
        let entries = [("API.example:443".to_owned(), "127.0.0.1:8443".to_owned())].into();
        let resolver = Resolver::new(SystemNames::default(), &entries).unwrap();
        let host = Host::parse("api.example").unwrap();
        assert_eq!(resolver.overridden(&host, 443), Some("127.0.0.1:8443".parse().unwrap()));
        assert_eq!(resolver.overridden(&host, 80), None);
        let bad = [("api.example".to_owned(), "127.0.0.1:1".to_owned())].into();
        assert!(Resolver::new(SystemNames::default(), &bad).is_err());
    }
}
