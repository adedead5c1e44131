//! Stage 2: the captured network.
//!
//! In: a fresh network namespace, its capabilities, and nothing else: all of it is raw netlink. Out: the sockets
//! that every outgoing connection and every DNS question of the namespace is turned to, and a socket that tells
//! what was dropped. A connection that arrives with its own end as the agent has it is marked. There is no device but loopback, every address is local to it, so nothing can leave.

mod listeners;
mod message;
mod nftables;
mod routes;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use chiton_sys::Errno;
use rustix::fs::{Mode, OFlags};

/// The netlink group that dropped packets are logged to.
pub const LOG_GROUP: u16 = 1;

/// The sockets, in the order of `chiton_api::control::Listeners`. Where the host has no IPv6 the second of each is
/// missing.
#[derive(Debug)]
pub struct CapturedListeners {
    /// Listening TCP sockets: IPv4, then IPv6.
    pub tcp: Vec<OwnedFd>,
    /// UDP sockets for DNS: IPv4, then IPv6.
    pub dns_udp: Vec<OwnedFd>,
    /// Listening TCP sockets for DNS: IPv4, then IPv6.
    pub dns_tcp: Vec<OwnedFd>,
    /// Bound to [`LOG_GROUP`]: tells of dropped packets.
    pub dropped: OwnedFd,
    /// Their ports, the same for IPv4 and IPv6.
    pub ports: Ports,
}

/// The listeners' ports on 127.0.0.1 and ::1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Every TCP connection.
    pub tcp: u16,
    /// DNS questions by UDP.
    pub dns_udp: u16,
    /// DNS questions by TCP.
    pub dns_tcp: u16,
}

impl CapturedListeners {
    /// All descriptors in their order.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let sockets = self.tcp.iter().chain(&self.dns_udp).chain(&self.dns_tcp);
        sockets.chain(std::iter::once(&self.dropped)).map(AsFd::as_fd).collect()
    }
}

/// Why the network could not be captured.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot capture the sandbox's network: {doing}: {source}; `chiton doctor` says what this machine lacks"
)]
pub struct CaptureError {
    /// Which step.
    pub doing: &'static str,
    /// What the kernel said.
    pub source: Errno,
}

/// Brings loopback up, makes every address local to it, makes the listeners, and programs the packet filter.
/// In this order, so that nothing is open at any moment.
pub fn build() -> Result<CapturedListeners, CaptureError> {
    routes::bring_up()?;
    let listeners = listeners::open()?;
    // An accepted connection has the mark of its first packet.
    set("/proc/sys/net/ipv4/tcp_fwmark_accept", "1")
        .map_err(step("letting connections keep their mark (net.ipv4.tcp_fwmark_accept)"))?;
    // There is no network between the agent and the proxy to be careful with. Every kernel has `reno`; what a host chose,
    // as `bbr`, may pace what is sent. For speed alone: where it cannot be set, nothing else is lost.
    let _ = set("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    nftables::program(listeners.ports)?;
    Ok(listeners)
}

/// Sets something of this network namespace. What is called `ipv4` is for IPv6, too.
fn set(path: &str, value: &str) -> Result<(), Errno> {
    let setting = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&setting, value.as_bytes()).map(drop)
}

fn step(doing: &'static str) -> impl FnOnce(Errno) -> CaptureError {
    move |source| CaptureError { doing, source }
}
