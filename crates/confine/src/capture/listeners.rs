//! The sockets that everything is turned to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use chiton_sys::{
    Errno,
    netlink::{Netlink, Subsystem},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use crate::capture::{
    CaptureError, CapturedListeners, LOG_GROUP, Ports,
    message::{ACK, Messages},
    step,
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Opens them all. Ports come from the kernel; IPv6 has the same port as IPv4.
pub(super) fn open() -> Result<CapturedListeners, CaptureError> {
    let (tcp, tcp_port) = pair(SocketType::STREAM)?;
    let (dns_udp, udp_port) = pair(SocketType::DGRAM)?;
    let (dns_tcp, dns_port) = pair(SocketType::STREAM)?;
    let ports = Ports { tcp: tcp_port, dns_udp: udp_port, dns_tcp: dns_port };
    Ok(CapturedListeners { tcp, dns_udp, dns_tcp, dropped: dropped()?, ports })
}

fn pair(kind: SocketType) -> Result<(Vec<OwnedFd>, u16), CaptureError> {
    let (first, at) = one(kind, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
        .map_err(step("opening a listener on 127.0.0.1"))?;
    let second = one(kind, SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), at.port()));
    match second {
        Ok((second, _)) => Ok((vec![first, second], at.port())),
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => Ok((vec![first], at.port())),
        Err(source) => Err(step("opening a listener on ::1")(source)),
    }
}

fn one(kind: SocketType, address: SocketAddr) -> Result<(OwnedFd, SocketAddr), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound))
}

/// A socket bound to the log group: `NFULNL_MSG_CONFIG` with bind, the first bytes of each packet, and no waiting.
fn dropped() -> Result<OwnedFd, CaptureError> {
    const CONFIG: u16 = 4 << 8 | 1;
    const COMMAND: u16 = 1;
    const MODE: u16 = 2;
    const THRESHOLD: u16 = 5;
    let socket = Netlink::open(Subsystem::Netfilter).map_err(step("opening a log socket"))?;
    let mut messages = Messages::default();
    messages.add(CONFIG, ACK, |body| {
        body.raw(&[0, 0]);
        body.raw(&LOG_GROUP.to_be_bytes());
        body.attribute(COMMAND, &[1]);
        // Copy 128 bytes of the packet.
        body.attribute(MODE, &[0, 0, 0, 128, 2, 0]);
        body.number(THRESHOLD, 1);
    });
    messages.exchange(&socket).map_err(step("binding the log of dropped packets"))?;
    Ok(socket.into_fd())
}
