//! Connects to the server of a permit: resolves once, checks every address, dials exactly what it checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use chiton_policy::{ConnectPermit, Host, Scheme, model::Cidr};
use chiton_tls::{Alpn, TlsError};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use super::{
    address::{Reach, reach},
    read_ahead::ReadAhead,
    resolve::{ResolveError, Resolver},
    trust::Trust,
};
use crate::{judge::Route, limits};

/// A connection to a server, in the clear or over verified TLS.
pub(crate) type Connection = Either<TcpStream, TlsStream<ReadAhead<TcpStream>>>;

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

/// A new connection, and whether the server speaks HTTP/2 on it.
pub(crate) struct Dialled {
    /// The connection.
    pub(crate) connection: Connection,
    /// HTTP/2 was agreed on.
    pub(crate) http2: bool,
}

/// Where a permit leads, and to which addresses.
struct Bounds<'a> {
    host: &'a Host,
    port: u16,
    private_addresses: bool,
    allowed_addresses: &'a [Cidr],
}

impl<'a> Bounds<'a> {
    fn of_route(route: &'a Route) -> Self {
        Self {
            host: &route.host,
            port: route.port,
            private_addresses: route.permit.private_addresses(),
            allowed_addresses: route.permit.allowed_addresses(),
        }
    }

    fn of_connection(permit: &'a ConnectPermit) -> Self {
        Self {
            host: permit.intent().host(),
            port: permit.intent().port().get(),
            private_addresses: permit.private_addresses(),
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
}

impl Dialler {
    /// Connects to where the permit leads.
    pub(crate) async fn dial(&self, route: &Route) -> Result<Dialled, DialError> {
        let stream = self.connect(route).await?;
        let _ = stream.set_nodelay(true);
        match route.scheme {
            Scheme::Http => Ok(Dialled { connection: Either::Left(stream), http2: false }),
            Scheme::Https => secure(self.trust.config(Alpn::Http2OrHttp1), route, stream).await,
        }
    }

    /// The same, for HTTP/1.1 alone.
    pub(crate) async fn dial_http1(&self, route: &Route) -> Result<Connection, DialError> {
        let stream = self.connect(route).await?;
        let _ = stream.set_nodelay(true);
        match route.scheme {
            Scheme::Http => Ok(Either::Left(stream)),
            Scheme::Https => Ok(secure(self.trust.config(Alpn::Http1), route, stream).await?.connection),
        }
    }

    /// Connects to where a connection's permit leads; what goes over it is the agent's alone.
    pub(crate) async fn dial_tcp(&self, permit: &ConnectPermit) -> Result<TcpStream, DialError> {
        let stream = self.reach(&Bounds::of_connection(permit)).await?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn connect(&self, route: &Route) -> Result<TcpStream, DialError> {
        self.reach(&Bounds::of_route(route)).await
    }

    async fn reach(&self, route: &Bounds<'_>) -> Result<TcpStream, DialError> {
        let addresses = match self.resolver.overridden(route.host, route.port) {
            Some(address) => vec![address],
            None => self.checked(route).await?,
        };
        let mut last = None;
        for address in addresses {
            match timeout(limits::CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => last = Some((address, source)),
                Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
            }
        }
        let nowhere = || (SocketAddr::from(([0, 0, 0, 0], 0)), io::ErrorKind::AddrNotAvailable.into());
        let (address, source) = last.unwrap_or_else(nowhere);
        Err(DialError::Connect { host: route.host.clone(), address, source })
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

async fn secure(
    tls: Result<Arc<ClientConfig>, TlsError>,
    route: &Route,
    stream: TcpStream,
) -> Result<Dialled, DialError> {
    let failed = |source| DialError::Tls { host: route.host.clone(), source };
    let tls = tls.map_err(|error| failed(io::Error::other(error)))?;
    let name = match &route.host {
        Host::Ip(address) => ServerName::IpAddress((*address).into()),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
    };
    let handshake = TlsConnector::from(tls).connect(name, ReadAhead::new(stream));
    let stream = match timeout(limits::UPSTREAM_TLS, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Dialled { connection: Either::Right(stream), http2 })
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
        Reach::Never => Some("a loopback, link-local, metadata or unroutable address"),
    }
}
