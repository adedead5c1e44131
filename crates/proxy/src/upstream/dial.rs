//! Connects to the server of a permit: resolves once, checks every address, dials exactly what it checked.
//!
//! Where the operator has a forward proxy, it is asked for a tunnel to the checked address instead; or, where the operator
//! says that it resolves names, to the name, of which only what a name says could be checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use chiton_policy::{BaseUrl, ConnectKind, ConnectPermit, Host, HostName, Scheme, model::Cidr};
use chiton_tls::{Alpn, TlsError};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::either::Either;

use super::{
    address::{Reach, reach},
    resolve::{ResolveError, Resolver},
    trust::Trust,
    via::{Destination, Speaks, Tunnel, Via, ViaError, reach_of_name},
    wire::{Connection, Wire, end_unanswered, handshake, keep_alive, socket},
};
use crate::{judge::Route, limits};

/// Why a server was not reached. Nothing of the request was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It has none that may be dialled.
    #[error("`{host}` resolves to {address}, which is {kind}")]
    PrivateAddress {
        /// The judged host.
        host: Host,
        /// The first address that was refused.
        address: IpAddr,
        /// What it is.
        kind: &'static str,
    },
    /// A route's backend that only the operator can open.
    #[error(
        "`{url}` is in the clear or on this machine, and `[llm] allow` in `config.toml` does not list it"
    )]
    Closed {
        /// Which.
        url: String,
    },
    /// The forward proxy resolves it, and it may not be asked for.
    #[error("`{host}` is resolved by the forward proxy `{proxy}`, and {why}")]
    PrivateName {
        /// The judged host.
        host: Host,
        /// Which proxy.
        proxy: String,
        /// Why not.
        why: &'static str,
    },
    /// The forward proxy does not lead there.
    #[error("`{host}` cannot be reached through the forward proxy `{proxy}`: {why}")]
    Via {
        /// The judged host.
        host: Host,
        /// Which proxy.
        proxy: String,
        /// Why.
        #[source]
        why: ViaError,
    },
    /// No address took the connection.
    #[error("cannot connect to `{host}` at {address}: {source}")]
    Connect {
        /// The judged host.
        host: Host,
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's certificate does not verify, or its TLS is broken.
    #[error("the TLS of `{host}` does not verify: {source}")]
    Tls {
        /// The judged host.
        host: Host,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DialError {
    /// Whether it lies with the server and the way there, and not with what may be reached.
    pub(crate) const fn is_of_the_server(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Via { .. } | Self::Connect { .. } | Self::Tls { .. } => true,
            Self::PrivateAddress { .. } | Self::Closed { .. } | Self::PrivateName { .. } => false,
        }
    }

    /// Whether no other address of the same name is worth a try.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Via { why, .. } if !why.is_of_the_address())
    }
}

/// A new connection, and whether the server speaks HTTP/2 on it.
pub(crate) struct Dialled {
    /// The connection.
    pub(crate) connection: Connection,
    /// HTTP/2 was agreed on, or is known.
    pub(crate) http2: bool,
}

/// Where a permit leads, and to which addresses.
struct Bounds<'a> {
    host: &'a Host,
    port: u16,
    private_addresses: bool,
    /// The operator opened the backend: it may be on this machine.
    loopback: bool,
    allowed_addresses: &'a [Cidr],
}

impl<'a> Bounds<'a> {
    fn of_route(route: &'a Route, opened: bool) -> Self {
        Self {
            host: &route.host,
            port: route.port,
            private_addresses: opened || route.permit.private_addresses(),
            loopback: opened,
            allowed_addresses: route.permit.allowed_addresses(),
        }
    }

    fn of_connection(permit: &'a ConnectPermit) -> Self {
        Self {
            host: permit.intent().host(),
            port: permit.intent().port().get(),
            private_addresses: permit.private_addresses(),
            loopback: false,
            allowed_addresses: permit.allowed_addresses(),
        }
    }
}

/// Makes connections.
pub(crate) struct Dialler {
    /// Where names lead.
    pub(crate) resolver: Resolver,
    /// Trust, and the protocols that are offered.
    pub(crate) trust: Trust,
    /// What connections go through.
    pub(crate) via: Option<Via>,
    /// `[llm] allow`.
    pub(crate) opened: Vec<BaseUrl>,
}

impl Dialler {
    /// Connects to where the permit leads.
    pub(crate) async fn dial(&self, route: &Route) -> Result<Dialled, DialError> {
        let wire = self.connect(route).await?;
        match route.scheme {
            Scheme::Http => Ok(Dialled { connection: Either::Left(wire), http2: route.knows_http2() }),
            Scheme::Https => secure(self.trust.config(Alpn::Http2OrHttp1), route, wire).await,
        }
    }

    /// The same, for HTTP/1.1 alone.
    pub(crate) async fn dial_http1(&self, route: &Route) -> Result<Connection, DialError> {
        let wire = self.connect(route).await?;
        match route.scheme {
            Scheme::Http => Ok(Either::Left(wire)),
            Scheme::Https => Ok(secure(self.trust.config(Alpn::Http1), route, wire).await?.connection),
        }
    }

    /// Connects to where a connection's permit leads; what goes over it is the agent's alone, and the server's.
    pub(crate) async fn dial_tcp(&self, permit: &ConnectPermit) -> Result<Tunnel, DialError> {
        let speaks = match permit.intent().kind() {
            ConnectKind::Tcp => Speaks::Anyone,
            ConnectKind::Tls => Speaks::Client,
        };
        self.reach(&Bounds::of_connection(permit), speaks).await
    }

    async fn connect(&self, route: &Route) -> Result<Wire, DialError> {
        let opened = self.opened(route)?;
        let wire = self.reach(&Bounds::of_route(route, opened), Speaks::Client).await?.wire;
        let _ = end_unanswered(socket(&wire));
        Ok(wire)
    }

    /// Whether the operator opened a route's backend, where it is one's; a policy alone cannot.
    fn opened(&self, route: &Route) -> Result<bool, DialError> {
        let Some(backend) = route.permit.llm().map(|grant| grant.backend()) else { return Ok(false) };
        let opened = self.opened.iter().any(|open| open.covers(backend));
        if backend.needs_operator() && !opened {
            return Err(DialError::Closed { url: backend.to_string() });
        }
        Ok(opened)
    }

    async fn reach(&self, route: &Bounds<'_>, speaks: Speaks) -> Result<Tunnel, DialError> {
        let addresses = match self.resolver.overridden(route.host, route.port) {
            Some(address) => vec![address],
            None => {
                if let Some((via, name)) = self.told_by_name(route) {
                    check_name(route, via, name)?;
                    return self
                        .through(via, route, Destination::Name(name.clone(), route.port), speaks)
                        .await;
                }
                self.checked(route).await?
            }
        };
        let nowhere = || {
            let source = io::ErrorKind::AddrNotAvailable.into();
            DialError::Connect { host: route.host.clone(), address: ([0, 0, 0, 0], 0).into(), source }
        };
        let mut last = None;
        for address in addresses {
            let reached = match &self.via {
                Some(via) if !via.is_direct(route.host, address) => {
                    self.through(via, route, Destination::Address(address), speaks).await
                }
                Some(_) | None => direct(route, address).await,
            };
            match reached {
                Ok(tunnel) => return Ok(tunnel),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(nowhere))
    }

    /// The forward proxy, where it is the one that resolves this name.
    fn told_by_name<'a>(&'a self, route: &Bounds<'a>) -> Option<(&'a Via, &'a HostName)> {
        match (&self.via, route.host) {
            (Some(via), Host::Name(name)) if via.resolves(route.host) && !self.resolver.is_in_table(name) => {
                Some((via, name))
            }
            _ => None,
        }
    }

    async fn through(
        &self,
        via: &Via,
        route: &Bounds<'_>,
        to: Destination,
        speaks: Speaks,
    ) -> Result<Tunnel, DialError> {
        let tunnel = via.tunnel(&self.resolver, &self.trust, to, speaks).await;
        tunnel.map_err(|why| DialError::Via { host: route.host.clone(), proxy: via.shown(), why })
    }

    /// The addresses that the permit lets us dial, of those that the name has now.
    async fn checked(&self, route: &Bounds<'_>) -> Result<Vec<SocketAddr>, DialError> {
        let found = match route.host {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => self.resolver.addresses(name).await?,
        };
        let mut refused = None;
        let mut checked = Vec::with_capacity(found.len());
        for address in found {
            match refusal(route, address) {
                None => checked.push(SocketAddr::new(address, route.port)),
                Some(kind) => refused = refused.or(Some((address, kind))),
            }
        }
        match refused {
            Some((address, kind)) if checked.is_empty() => {
                Err(DialError::PrivateAddress { host: route.host.clone(), address, kind })
            }
            Some(_) | None => Ok(checked),
        }
    }
}

async fn direct(route: &Bounds<'_>, address: SocketAddr) -> Result<Tunnel, DialError> {
    let failed = |source| DialError::Connect { host: route.host.clone(), address, source };
    let connected = timeout(limits::CONNECT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    let _ = stream.set_nodelay(true);
    // A server that vanished would be waited for as long as the agent does.
    let _ = keep_alive(&stream);
    Ok(Tunnel { wire: Either::Left(stream), first: Bytes::new() })
}

async fn secure(
    tls: Result<Arc<ClientConfig>, TlsError>,
    route: &Route,
    wire: Wire,
) -> Result<Dialled, DialError> {
    let failed = |source| DialError::Tls { host: route.host.clone(), source };
    let tls = tls.map_err(|error| failed(io::Error::other(error)))?;
    let stream = handshake(tls, &route.host, wire).await.map_err(failed)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Dialled { connection: Either::Right(stream), http2 })
}

/// What can be checked of a name that the forward proxy resolves.
fn check_name(route: &Bounds<'_>, via: &Via, name: &HostName) -> Result<(), DialError> {
    let refused = |why| Err(DialError::PrivateName { host: route.host.clone(), proxy: via.shown(), why });
    if !route.allowed_addresses.is_empty() {
        return refused("its address cannot be compared with the rule's `allowed_addresses`");
    }
    match reach_of_name(name) {
        Reach::Public => Ok(()),
        Reach::Private if route.private_addresses => Ok(()),
        Reach::Private => refused(
            "such a name is of a private network; `private_addresses: true` on the rule would allow it",
        ),
        Reach::Never => refused("such a name is of a machine's own side, or of a metadata service"),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

/// Why an address may not be dialled under this permit.
fn refusal(permit: &Bounds<'_>, address: IpAddr) -> Option<&'static str> {
    if !permit.allowed_addresses.is_empty() {
        let allowed = permit.allowed_addresses.iter().any(|range| range.contains(address));
        return (!allowed).then_some("not one of the rule's `allowed_addresses`");
    }
    match reach(address) {
        Reach::Public => None,
        Reach::Private if permit.private_addresses => None,
        Reach::Private => Some("a private address; `private_addresses: true` on the rule would allow it"),
        Reach::Never if permit.loopback && is_loopback(address) => None,
        Reach::Never => Some("a loopback, link-local, metadata or unroutable address"),
    }
}
