//! Accepts what the sandbox's packet filter turned to us, and asks the kernel where it was going.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use crate::{owners::Ends, state::Proxy, workers::Workers};

/// Where a captured connection was going.
pub(crate) trait Origin: Send + Sync + 'static {
    /// The address that the agent connected to.
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr>;

    /// Whether the agent's own end is as the agent has it.
    fn shows_own_end(&self, stream: &TcpStream) -> bool;
}

/// A captured connection.
pub(crate) struct Arrived {
    /// Where it was going.
    pub(crate) to: SocketAddr,
    /// Its ends; none where they cannot be told.
    pub(crate) ends: Option<Ends>,
}

impl Arrived {
    fn of(stream: &TcpStream, origin: &dyn Origin) -> io::Result<Self> {
        let to = origin.of(stream)?;
        let ends = if origin.shows_own_end(stream) { ends(stream, to).ok() } else { None };
        Ok(Self { to, ends })
    }
}

fn ends(stream: &TcpStream, to: SocketAddr) -> io::Result<Ends> {
    Ok(Ends {
        from: canonical(stream.peer_addr()?),
        to: canonical(to),
        at: canonical(stream.local_addr()?),
        cookie: rustix::net::sockopt::socket_cookie(stream)?,
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The kernel's own record of the redirection.
#[derive(Debug)]
pub(crate) struct KernelOrigin;

impl Origin for KernelOrigin {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let origin = canonical(chiton_sys::socket::original_destination(stream)?);
        // A connection straight to the listener was not captured: there is nowhere to bring it.
        if origin.ip().is_loopback() || stream.local_addr().is_ok_and(|local| local == origin) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(origin)
    }

    /// The packet filter marks those. Two sockets may have the same end towards different places; the second one's is
    /// changed on its way to us, to one that another connection may have.
    fn shows_own_end(&self, stream: &TcpStream) -> bool {
        chiton_sys::socket::mark(stream) == Ok(chiton_sys::socket::OWN_END)
    }
}

/// Serves one capture listener until it fails.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    origin: Arc<dyn Origin>,
    workers: Arc<Workers>,
) -> io::Result<()> {
    loop {
        // Past the limit a connection waits in the kernel's backlog.
        let Some(place) = workers.place().await else { return Ok(()) };
        let (stream, _) = accept(&listener).await?;
        match Arrived::of(&stream, &*origin) {
            Ok(arrived) => drop(workers.serve(stream, arrived, proxy.clone(), place)),
            Err(_) => reset(stream),
        }
    }
}

/// Accepts; errors of one connection, and a process out of descriptors, are waited out.
pub(crate) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => return Err(error),
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted => {}
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

/// Ends a connection so that the agent sees a reset.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
    drop(stream);
}
