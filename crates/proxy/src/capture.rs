//! Accepts what the sandbox's packet filter turned to us, and asks the kernel where it was going.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::state::Proxy;

/// Where a captured connection was going.
pub(crate) trait Origin: Send + Sync + 'static {
    /// The address that the agent connected to.
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr>;
}

/// The kernel's own record of the redirection.
#[derive(Debug)]
pub(crate) struct KernelOrigin;

impl Origin for KernelOrigin {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let origin = chiton_sys::socket::original_destination(stream)?;
        let origin = SocketAddr::new(origin.ip().to_canonical(), origin.port());
        // A connection straight to the listener was not captured: there is nowhere to bring it.
        if origin.ip().is_loopback() || stream.local_addr().is_ok_and(|local| local == origin) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(origin)
    }
}

/// Serves one capture listener until it fails.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    origin: Arc<dyn Origin>,
    places: Arc<Semaphore>,
) -> io::Result<()> {
    loop {
        // Past the limit a connection waits in the kernel's backlog.
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = accept(&listener).await?;
        match origin.of(&stream) {
            Ok(to) => {
                let proxy = proxy.clone();
                tokio::spawn(async move {
                    crate::accept::serve(stream, to, proxy).await;
                    drop(place);
                });
            }
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
