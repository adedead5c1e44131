//! Tells of packets that the sandbox's packet filter dropped: UDP, ICMP, and whatever else is no captured TCP.
//!
//! The kernel's messages (`nfnetlink_log`) are read as far as the packet's own header and no further.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Instant,
};

use tokio::io::unix::AsyncFd;

use crate::{limits, state::Proxy};

const NLMSG_HEADER: usize = 16;
const NFGEN_HEADER: usize = 4;
/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET`
const PACKET: u16 = 4 << 8;
/// `NFULA_PAYLOAD`
const PAYLOAD: u16 = 9;

/// Reads the log until it fails; some kernels and configurations have none.
pub(crate) async fn serve(log: OwnedFd, proxy: Arc<Proxy>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&log, true)?;
    #[expect(
        deprecated,
        reason = "an owned descriptor stays the same for its life; the successor needs `unsafe`"
    )]
    let log = AsyncFd::new(log)?;
    let mut buffer = vec![0; 16 << 10];
    let mut window = (Instant::now(), 0);
    loop {
        let mut ready = log.readable().await?;
        let read = ready.try_io(|log| {
            rustix::net::recv(log, &mut buffer[..], rustix::net::RecvFlags::empty())
                .map(|(read, _)| read)
                .map_err(io::Error::from)
        });
        match read {
            Ok(Ok(read)) => {
                for packet in packets(buffer.get(..read).unwrap_or_default()) {
                    note(&proxy, &packet, &mut window);
                }
            }
            // The kernel lost some because we were slow.
            Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

fn note(proxy: &Proxy, packet: &Packet, (since, count): &mut (Instant, u32)) {
    if since.elapsed().as_secs() >= 1 {
        (*since, *count) = (Instant::now(), 0);
    }
    *count += 1;
    if *count > limits::DROP_EVENTS_PER_SECOND {
        return;
    }
    let host = match proxy.names.name_of(packet.to) {
        Some(name) => name.as_str().to_owned(),
        None => packet.to.to_string(),
    };
    proxy.events.dropped(packet.protocol, Some(host), packet.port);
}

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    protocol: &'static str,
    to: IpAddr,
    port: Option<u16>,
}

/// The packets in a datagram of netlink messages.
fn packets(mut bytes: &[u8]) -> Vec<Packet> {
    let mut found = Vec::new();
    while let Some(header) = bytes.first_chunk::<NLMSG_HEADER>() {
        let [l0, l1, l2, l3, t0, t1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(message) = bytes.get(NLMSG_HEADER + NFGEN_HEADER..length) else { break };
        if u16::from_ne_bytes([t0, t1]) == PACKET {
            found.extend(payload(message).and_then(packet));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn payload(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let [l0, l1, t0, t1] = *attributes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([t0, t1]) & 0x3fff == PAYLOAD {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn packet(bytes: &[u8]) -> Option<Packet> {
    let (to, protocol, rest): (IpAddr, u8, &[u8]) = match bytes.first()? >> 4 {
        4 => {
            let header = usize::from(bytes.first()? & 0x0f) * 4;
            let to: [u8; 4] = *bytes.get(16..)?.first_chunk()?;
            (Ipv4Addr::from(to).into(), *bytes.get(9)?, bytes.get(header..).unwrap_or_default())
        }
        6 => {
            let to: [u8; 16] = *bytes.get(24..)?.first_chunk()?;
            (Ipv6Addr::from(to).into(), *bytes.get(6)?, bytes.get(40..).unwrap_or_default())
        }
        _ => return None,
    };
    let (protocol, has_port) = match protocol {
        1 | 58 => ("icmp", false),
        6 => ("tcp", true),
        17 => ("udp", true),
        _ => ("ip", false),
    };
    let port = rest.get(2..4).filter(|_| has_port).and_then(|port| port.first_chunk().copied());
    Some(Packet { protocol, to, port: port.map(u16::from_be_bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(packet: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; NLMSG_HEADER + NFGEN_HEADER];
        bytes.extend([6, 0, 10, 0, b'x', 0, 0, 0]);
        bytes.extend(u16::try_from(packet.len() + 4).unwrap().to_ne_bytes());
        bytes.extend(PAYLOAD.to_ne_bytes());
        bytes.extend(packet);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&PACKET.to_ne_bytes());
        bytes
    }

    #[test]
    fn reads_where_a_packet_was_going() {
        let mut udp = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 8, 8, 4, 4];
        udp.extend([0x30, 0x39, 0x01, 0xbb, 0, 8, 0, 0]);
        let wanted = Packet { protocol: "udp", to: "8.8.4.4".parse().unwrap(), port: Some(443) };
        assert_eq!(packets(&message(&udp)), [wanted]);
        let mut icmp = vec![0x60, 0, 0, 0, 0, 8, 58, 64];
        icmp.extend([0; 16]);
        icmp.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let wanted = Packet { protocol: "icmp", to: "2001:db8::1".parse().unwrap(), port: None };
        assert_eq!(packets(&message(&icmp)), [wanted]);
    }

    #[test]
    fn garbage_is_nothing() {
        for bytes in [&b""[..], &[0; 16], &[255; 64], &message(b"\x45")[..], &message(b"\x00")] {
            assert_eq!(packets(bytes), []);
        }
    }
}
