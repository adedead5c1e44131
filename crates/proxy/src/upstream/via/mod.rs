//! The operator's forward proxy: what leaves is a tunnel through it, and nothing else, but for the exceptions.
//!
//! In: a destination that a permit leads to, already checked. Out: a tunnel to exactly that, or why there is none; never
//! a direct connection instead, and never a byte of what the proxy says for itself.

mod handshake;
mod names;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use chiton_api::forward::{Exception, ForwardProxy, ProxyUrl};
use chiton_policy::{Host, HostName};
use chiton_tls::{Alpn, TlsError};
use http::StatusCode;
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::either::Either;
use zeroize::Zeroizing;

use self::handshake::ask;
pub(crate) use self::names::reach_of_name;
use super::{
    resolve::{ResolveError, Resolver},
    trust::Trust,
    wire::{Tls, Wire, handshake as tls_handshake, keep_alive},
};
use crate::{http1::response::ResponseError, limits};

/// Where a tunnel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address that was checked.
    Address(SocketAddr),
    /// A name, which the proxy resolves.
    Name(HostName, u16),
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{}:{port}", name.as_str()),
        }
    }
}

/// Who says the first byte in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// We do: whatever comes earlier is not the server's.
    Client,
    /// Either side may.
    Anyone,
}

/// A tunnel, and what came of the server with the answer that opened it.
pub(crate) struct Tunnel {
    /// The tunnel.
    pub(crate) wire: Wire,
    /// Empty where the client speaks first.
    pub(crate) first: Bytes,
}

/// Why there is no tunnel. Said after `the forward proxy … :`; holds nothing that the proxy wrote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViaError {
    /// Its name has no address.
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    /// It is not there.
    #[error("cannot connect to it at {address}: {source}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is spoken to over TLS, and does not verify.
    #[error("its TLS does not verify: {0}")]
    Tls(#[source] io::Error),
    /// No answer in time.
    #[error("it does not answer within {} seconds", limits::TUNNEL.as_secs())]
    Slow,
    /// It went away.
    #[error("it closed the connection before it had answered")]
    Closed,
    /// The connection failed.
    #[error("the connection to it failed: {0}")]
    Io(#[from] io::Error),
    /// What it says is no HTTP.
    #[error("its answer is no response: {0}")]
    Answer(#[from] ResponseError),
    /// It wants a credential, and there is none.
    #[error("it asks for a credential ({}), and `[upstream] proxy_credential` of config.toml names none", .0.as_u16())]
    NoCredential(StatusCode),
    /// It wants another one.
    #[error("it refuses the credential ({}) that `[upstream] proxy_credential` of config.toml names", .0.as_u16())]
    BadCredential(StatusCode),
    /// It does not connect there.
    #[error("it refuses `CONNECT {to}` ({}){}", .status.as_u16(), hint(.to))]
    Refused {
        /// What it said.
        status: StatusCode,
        /// What it was asked for.
        to: Destination,
    },
    /// It could not.
    #[error("it could not connect to `{to}` ({})", .status.as_u16())]
    Failed {
        /// What it said.
        status: StatusCode,
        /// What it was asked for.
        to: Destination,
    },
    /// Bytes where none can be.
    #[error("it sent bytes after its answer that cannot be the server's")]
    Extra,
}

/// What may help where it refuses.
const fn hint(to: &Destination) -> &'static str {
    match to {
        Destination::Address(address) if address.port() == 443 => {
            ": one that allows by name needs `proxy_resolves = true` in config.toml"
        }
        Destination::Address(_) => {
            ": many allow port 443 only, and one that allows by name needs `proxy_resolves = true` in config.toml"
        }
        Destination::Name(_, 443) => "",
        Destination::Name(..) => ": many allow port 443 only",
    }
}

impl ViaError {
    /// The status that it answered with, where it did.
    pub(crate) const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::NoCredential(status)
            | Self::BadCredential(status)
            | Self::Refused { status, .. }
            | Self::Failed { status, .. } => Some(*status),
            Self::Resolve(_)
            | Self::Connect { .. }
            | Self::Tls(_)
            | Self::Slow
            | Self::Closed
            | Self::Io(_)
            | Self::Answer(_)
            | Self::Extra => None,
        }
    }

    /// Whether another address of the same name may do: the proxy works, and that address does not.
    pub(crate) const fn is_of_the_address(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// The operator's forward proxy.
pub(crate) struct Via {
    url: ProxyUrl,
    authorization: Option<Zeroizing<String>>,
    resolves: bool,
    except: Vec<Exception>,
    /// How long its answer may take.
    patience: Duration,
}

impl Via {
    /// As it was configured.
    pub(crate) fn new(settings: ForwardProxy) -> Self {
        let ForwardProxy { url, credential, resolves, except } = settings;
        let authorization = credential.map(|credential| {
            let encoded = Zeroizing::new(STANDARD.encode(credential.value.dangerous_expose()));
            Zeroizing::new(format!("Basic {}", *encoded))
        });
        Self { url, authorization, resolves, except, patience: limits::TUNNEL }
    }

    /// How it is told.
    pub(crate) fn shown(&self) -> String {
        self.url.to_string()
    }

    /// Whether it is told this host by name.
    pub(crate) fn resolves(&self, host: &Host) -> bool {
        self.resolves && matches!(host, Host::Name(_)) && !self.excepts(host)
    }

    fn excepts(&self, host: &Host) -> bool {
        self.except.iter().any(|exception| exception.matches(host))
    }

    /// Whether this host, at this address of it, is dialled directly. What is this machine's own, or its link's, has
    /// another meaning elsewhere: the proxy would take it for its own.
    pub(crate) fn is_direct(&self, host: &Host, address: SocketAddr) -> bool {
        let address = address.ip().to_canonical();
        let is_here = match address {
            IpAddr::V4(address) => {
                address.is_loopback() || address.is_link_local() || address.is_unspecified()
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
            }
        };
        is_here || self.excepts(host) || self.except.iter().any(|exception| exception.contains(address))
    }

    /// A tunnel to a destination.
    pub(crate) async fn tunnel(
        &self,
        resolver: &Resolver,
        trust: &Trust,
        to: Destination,
        speaks: Speaks,
    ) -> Result<Tunnel, ViaError> {
        let stream = self.connect(resolver).await?;
        let _ = stream.set_nodelay(true);
        let _ = keep_alive(&stream);
        let mut wire = if self.url.tls() {
            let tls = self.secure(trust.config(Alpn::Http1), stream).await?;
            Either::Right(Box::new(tls))
        } else {
            Either::Left(stream)
        };
        let authorization = self.authorization.as_ref().map(|value| value.as_str());
        let first = match timeout(self.patience, ask(&mut wire, &to, authorization, speaks)).await {
            Ok(answered) => answered?,
            Err(_) => return Err(ViaError::Slow),
        };
        Ok(Tunnel { wire, first })
    }

    /// To the proxy itself, wherever it is: the operator named it.
    async fn connect(&self, resolver: &Resolver) -> Result<TcpStream, ViaError> {
        let port = self.url.port().get();
        let addresses = match (resolver.overridden(self.url.host(), port), self.url.host()) {
            (Some(address), _) => vec![address],
            (None, Host::Ip(address)) => vec![SocketAddr::new(*address, port)],
            (None, Host::Name(name)) => {
                let addresses = resolver.addresses(name).await?.into_iter();
                addresses.map(|address| SocketAddr::new(address, port)).collect()
            }
        };
        let mut last = (SocketAddr::from(([0, 0, 0, 0], port)), io::ErrorKind::AddrNotAvailable.into());
        for address in addresses {
            match timeout(limits::CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => last = (address, source),
                Err(_) => last = (address, io::ErrorKind::TimedOut.into()),
            }
        }
        let (address, source) = last;
        Err(ViaError::Connect { address, source })
    }

    async fn secure(
        &self,
        tls: Result<Arc<ClientConfig>, TlsError>,
        stream: TcpStream,
    ) -> Result<Tls<TcpStream>, ViaError> {
        let tls = tls.map_err(|error| ViaError::Tls(io::Error::other(error)))?;
        tls_handshake(tls, self.url.host(), stream).await.map_err(ViaError::Tls)
    }
}

#[cfg(test)]
mod tests {
    use chiton_testkit::{RawUpstream, raw::Script};
    use chiton_tls::{Roots, SystemRoots};

    use super::*;
    use crate::upstream::resolve::SystemNames;

    #[tokio::test]
    async fn a_proxy_that_says_nothing_is_given_up() {
        let resolver = Resolver::new(SystemNames::default(), &Default::default()).unwrap();
        let ca = chiton_testkit::TestCa::new();
        let roots = Roots::only(&[ca.pem().to_owned()]).unwrap();
        let trust = Trust::new(SystemRoots::Read(None), roots).unwrap();
        let proxy = RawUpstream::plain(Script::Stall);
        let settings = ForwardProxy {
            url: format!("http://{}", proxy.address()).parse().unwrap(),
            credential: None,
            resolves: false,
            except: Vec::new(),
        };
        let via = Via { patience: Duration::from_millis(300), ..Via::new(settings) };
        let to = Destination::Address("203.0.113.9:443".parse().unwrap());
        let failed =
            timeout(Duration::from_secs(20), via.tunnel(&resolver, &trust, to, Speaks::Client)).await;
        let error = failed.unwrap().err().unwrap();
        assert!(matches!(error, ViaError::Slow), "{error}");
        assert_eq!(error.to_string(), "it does not answer within 30 seconds");
        assert_eq!(proxy.log().connections(), 1);
    }
}
