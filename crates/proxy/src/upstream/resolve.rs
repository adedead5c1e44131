//! Real addresses of upstream names: the operator's entries, the host's table, then the host's name servers.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
};

use chiton_api::control::NAME_FILES;
use chiton_policy::{Host, HostName};
use futures_util::future::select;
use hickory_proto::rr::RecordType;
use hickory_resolver::{
    Resolver as Hickory, TokioResolver,
    config::{ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use tokio::{sync::OnceCell, time::timeout};

use crate::limits;

/// What the host says about names. The proxy reads it before it gives up its files, and is handed it open afterwards.
#[derive(Debug, Default)]
pub(crate) struct SystemNames {
    hosts: HashMap<String, Vec<IpAddr>>,
    servers: Option<(ResolverConfig, ResolverOpts)>,
}

impl SystemNames {
    /// Reads [`NAME_FILES`].
    pub(crate) fn read() -> Self {
        Self::of(NAME_FILES.map(|path| File::open(path).ok()))
    }

    /// What these files, which are [`NAME_FILES`], say. One that is not there, or cannot be read, is empty.
    pub(crate) fn of(files: [Option<File>; 2]) -> Self {
        let [servers, hosts] = files.map(|file| {
            let mut text = Vec::new();
            let read = file.and_then(|mut file| file.read_to_end(&mut text).ok());
            read.map(|_| text).unwrap_or_default()
        });
        Self {
            hosts: parse_hosts(&String::from_utf8_lossy(&hosts)),
            servers: parse_resolv_conf(servers).ok(),
        }
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
    host: RwLock<Arc<Known>>,
    overrides: HashMap<(Host, u16), SocketAddr>,
}

/// What the host says, and who is asked for what its table does not have.
struct Known {
    system: SystemNames,
    servers: OnceCell<TokioResolver>,
}

impl Known {
    fn new(system: SystemNames) -> Arc<Self> {
        Arc::new(Self { system, servers: OnceCell::new() })
    }

    fn build(&self) -> Result<TokioResolver, ResolveError> {
        let (config, mut options) = self.system.servers.clone().ok_or(ResolveError::NoServers)?;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 256;
        let builder =
            Hickory::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        builder.build().map_err(|_| ResolveError::NoServers)
    }
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
        Ok(Self { host: RwLock::new(Known::new(system)), overrides })
    }

    /// Goes on with what the host says now. Nothing that was answered before is kept.
    pub(crate) fn follow(&self, system: SystemNames) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = Known::new(system);
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.host.read().unwrap_or_else(PoisonError::into_inner))
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
        self.known().system.hosts.contains_key(name.as_str())
    }

    /// Every address of a name, asked once.
    pub(crate) async fn addresses(&self, name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        let known = self.known();
        if let Some(addresses) = known.system.hosts.get(name.as_str()) {
            return Ok(addresses.clone());
        }
        let failed = |why: String| ResolveError::Failed { name: name.as_str().to_owned(), why };
        let servers = known.servers.get_or_try_init(|| async { known.build() }).await?;
        // The final dot: no search domain of the host is ever tried.
        let question = format!("{}.", name.as_str());
        match timeout(limits::RESOLVE, both_kinds(servers, &question)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(failed("it has no address".to_owned())),
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the name servers do not answer".to_owned())),
        }
    }
}

/// The addresses of both kinds, those of IPv4 first. Some name servers never answer for a kind that they do not know, so
/// that nobody waits long for the other kind when one has come.
async fn both_kinds(servers: &TokioResolver, question: &str) -> Result<Vec<IpAddr>, NetError> {
    let v4 = pin!(one_kind(servers, question, RecordType::A));
    let v6 = pin!(one_kind(servers, question, RecordType::AAAA));
    let (first, other) = select(v4, v6).await.factor_first();
    let mut addresses = match first {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) | Err(_) => return other.await,
    };
    if let Ok(Ok(more)) = timeout(limits::RESOLVE_OTHER, other).await {
        addresses.extend(more);
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    Ok(addresses)
}

async fn one_kind(
    servers: &TokioResolver,
    question: &str,
    kind: RecordType,
) -> Result<Vec<IpAddr>, NetError> {
    let answer = servers.lookup(question, kind).await?;
    Ok(answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, ResponseCode},
        rr::{RData, Record},
    };
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use tokio::{net::UdpSocket, time::Instant};

    use super::*;

    const V4: &str = "192.0.2.1";
    const V6: &str = "2001:db8::1";

    /// What a name server does with a question of one kind.
    #[derive(Clone, Copy)]
    enum Does {
        Drops,
        HasNone,
        Answers,
    }

    /// Asks a name server that does so with questions for IPv4 and IPv6.
    async fn asked(v4: Does, v6: Does) -> Result<Vec<String>, ResolveError> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut udp = ConnectionConfig::udp();
        udp.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![udp]);
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
                let query = answer.queries[0].clone();
                let (does, address) = if query.query_type() == RecordType::A { (v4, V4) } else { (v6, V6) };
                match does {
                    Does::Drops => continue,
                    Does::HasNone => answer.metadata.response_code = ResponseCode::NoError,
                    Does::Answers => {
                        let address = address.parse::<IpAddr>().unwrap();
                        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::from(address)));
                    }
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let servers =
            Some((ResolverConfig::from_parts(None, Vec::new(), vec![server]), ResolverOpts::default()));
        let system = SystemNames { hosts: HashMap::new(), servers };
        let resolver = Resolver::new(system, &BTreeMap::new()).unwrap();
        let Host::Name(name) = Host::parse("api.test").unwrap() else { panic!("no name") };
        let addresses = resolver.addresses(&name).await;
        serving.abort();
        Ok(addresses?.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn a_name_server_that_never_answers_for_one_kind_has_said_the_other() {
        let began = Instant::now();
        assert_eq!(asked(Does::Answers, Does::Drops).await.unwrap(), [V4]);
        assert_eq!(asked(Does::Drops, Does::Answers).await.unwrap(), [V6]);
        assert!(began.elapsed() < limits::RESOLVE / 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_name_has_the_addresses_that_there_are() {
        assert_eq!(asked(Does::Answers, Does::Answers).await.unwrap(), [V4, V6]);
        assert_eq!(asked(Does::Answers, Does::HasNone).await.unwrap(), [V4]);
        assert_eq!(asked(Does::HasNone, Does::Answers).await.unwrap(), [V6]);
        assert!(asked(Does::HasNone, Does::HasNone).await.is_err());
    }

    #[test]
    fn reads_a_host_table() {
        let hosts =
            parse_hosts("127.0.0.1 localhost # me\n::1 localhost\n10.1.2.3 Git.Corp. git\nnonsense x\n");
        assert_eq!(hosts["localhost"].len(), 2);
        assert_eq!(hosts["git.corp"], ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert!(!hosts.contains_key("x"));
    }

    #[tokio::test]
    async fn what_the_host_says_now_counts() {
        let table = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            SystemNames::of([None, Some(file)])
        };
        let resolver = Resolver::new(table("10.1.2.3 git.test\n"), &BTreeMap::new()).unwrap();
        let Host::Name(name) = Host::parse("git.test").unwrap() else { panic!("no name") };
        let address: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(resolver.addresses(&name).await.unwrap(), [address]);
        let address: IpAddr = "10.3.2.1".parse().unwrap();
        resolver.follow(table("10.3.2.1 git.test\n"));
        assert_eq!(resolver.addresses(&name).await.unwrap(), [address]);
        resolver.follow(table(""));
        assert!(matches!(resolver.addresses(&name).await, Err(ResolveError::NoServers)));
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
