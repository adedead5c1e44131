//! What bytes to a server go over: TCP or a tunnel, in the clear or in TLS of our own.

use std::{io, sync::Arc};

use chiton_policy::Host;
use rustix::net::sockopt;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use super::read_ahead::ReadAhead;
use crate::limits;

/// Verified TLS to a server or a forward proxy.
pub(crate) type Tls<S> = TlsStream<ReadAhead<S>>;

/// The way to a server: TCP to it or to a forward proxy, or the TLS that a forward proxy is spoken to in.
pub(crate) type Wire = Either<TcpStream, Box<Tls<TcpStream>>>;

/// A connection to a server, in the clear or over verified TLS.
pub(crate) type Connection = Either<Wire, Tls<Wire>>;

/// The socket below.
pub(crate) fn socket(wire: &Wire) -> &TcpStream {
    match wire {
        Either::Left(stream) => stream,
        Either::Right(tls) => tls.get_ref().0.get_ref(),
    }
}

/// TLS, verified for this host.
pub(crate) async fn handshake<S>(config: Arc<ClientConfig>, host: &Host, stream: S) -> io::Result<Tls<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = match host {
        Host::Ip(address) => ServerName::IpAddress((*address).into()),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
    };
    timeout(limits::UPSTREAM_TLS, TlsConnector::from(config).connect(name, ReadAhead::new(stream))).await?
}

/// Lets the kernel find a server of HTTP that is gone, also while it owes an answer to what was sent: there the kernel
/// asks nothing, and tries again for a quarter of an hour. Meanwhile every request for that host would be sent after it.
pub(crate) fn end_unanswered(stream: &TcpStream) -> io::Result<()> {
    let (after, again) = limits::UNANSWERED_ASK;
    let most = u32::try_from(limits::UNANSWERED.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, after)?;
    sockopt::set_tcp_keepintvl(stream, again)?;
    // How often is asked is decided by this time, too.
    sockopt::set_tcp_user_timeout(stream, most)?;
    Ok(())
}

/// Lets the kernel find an end that is gone.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let (again, times) = limits::KEEPALIVE_AGAIN;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, limits::KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, again)?;
    sockopt::set_tcp_keepcnt(stream, times)?;
    Ok(())
}
