//! What the kernel knows about a connection: where it was going, and who is at the other end.

use std::{
    net::{SocketAddr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd as _},
};

pub use rustix::net::UCred;
use rustix::net::sockopt;

use crate::{Errno, Result, check};

/// The mark of a redirected connection whose other end the kernel shows as it is.
pub const OWN_END: u32 = 1;

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

/// The mark of a connection: its first packet's, where the network namespace lets connections keep that.
pub fn mark(connection: impl AsFd) -> Result<u32> {
    let mut mark = 0_u32;
    let mut length = libc::socklen_t::try_from(size_of_val(&mark)).map_err(|_| Errno::INVAL)?;
    // SAFETY: the option is a number of as many bytes as `mark` has, and both pointers are to variables of ours.
    check(libc::c_long::from(unsafe {
        libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw mut mark).cast(),
            &raw mut length,
        )
    }))?;
    Ok(mark)
}
