//! A raw netlink socket: messages in, messages out, no interpretation.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{self, SocketAddrNetlink},
    recv, send, socket_with, sockopt,
};

use crate::{Errno, Result};

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// Links, addresses, routes.
    Route,
    /// nftables and packet logs.
    Netfilter,
    /// What sockets there are.
    Sockets,
}

/// A bound netlink socket.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the current network namespace.
    pub fn open(subsystem: Subsystem) -> Result<Self> {
        let protocol: Option<Protocol> = match subsystem {
            Subsystem::Route => None,
            Subsystem::Netfilter => Some(netlink::NETFILTER),
            Subsystem::Sockets => Some(netlink::SOCK_DIAG),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(fd))
    }

    /// Room for this many bytes of messages not yet sent.
    pub fn set_send_buffer(&self, bytes: usize) -> Result<()> {
        sockopt::set_socket_send_buffer_size(&self.0, bytes)
    }

    /// Sends one datagram, which may hold several messages.
    pub fn send(&self, messages: &[u8]) -> Result<()> {
        let sent = send(&self.0, messages, SendFlags::empty())?;
        if sent == messages.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    /// Receives one datagram. Its length, which is the buffer's at most.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        rustix::io::retry_on_intr(|| recv(&self.0, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n))
    }

    /// The socket itself, to be handed over.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
