//! What the kernel knows about a connection: where it was going, and who is at the other end.

use std::{
    net::{SocketAddr, SocketAddrV4},
    os::fd::AsFd,
};

pub use rustix::net::UCred;
use rustix::net::sockopt;

use crate::Result;

/// Where a redirected connection was going before the packet filter turned it to us. `ENOENT` or the listener's
/// own address mean that it was not redirected.
pub fn original_destination(connection: impl AsFd) -> Result<SocketAddr> {
    let local = rustix::net::getsockname(&connection)?;
    if SocketAddrV4::try_from(local).is_ok() {
        sockopt::ip_original_dst(connection).map(SocketAddr::V4)
    } else {
        sockopt::ipv6_original_dst(connection).map(SocketAddr::V6)
    }
}

/// The process at the other end of a Unix connection, as it was when it connected.
pub fn peer_credentials(connection: impl AsFd) -> Result<UCred> {
    sockopt::socket_peercred(connection)
}
