//! What the kernel knows about a connection, and lets a socket serve.

use std::os::fd::{AsFd, AsRawFd as _};

pub use rustix::net::UCred;
use rustix::net::{AddressFamily, sockopt};

use crate::{Errno, Result, check};

/// The process at the other end of a Unix connection, as it was when it connected.
pub fn peer_credentials(connection: impl AsFd) -> Result<UCred> {
    sockopt::socket_peercred(connection)
}

/// Lets a socket of this family be given connections, and serve them, whose own end is any address. For a capability
/// over the network (`IP_TRANSPARENT` in `ip(7)`).
pub fn set_transparent(socket: impl AsFd, family: AddressFamily) -> Result<()> {
    let (level, option) = match family {
        AddressFamily::INET => (libc::SOL_IP, libc::IP_TRANSPARENT),
        AddressFamily::INET6 => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
        _ => return Err(Errno::AFNOSUPPORT),
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(|_| Errno::INVAL)?;
    // SAFETY: the option is a number of as many bytes as `on` has, and the pointer is to a variable of ours.
    let set = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length)
    };
    check(libc::c_long::from(set)).map(drop)
}
