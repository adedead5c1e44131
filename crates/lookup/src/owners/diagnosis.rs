//! Which socket has these two ends: the kernel's own answer (`SOCK_DIAG`), in the network namespace that we share
//! with the agent.
//!
//! What always holds: what is found is connected to the socket that the proxy accepted. Only one socket can have these
//! ends, and none gets through to be connected while the proxy's, with the same ends, lives: a connection that took
//! another one's port finds the proxy with another socket, or with none.

use std::net::{IpAddr, SocketAddr};

use chiton_sys::netlink::{Netlink, Subsystem};

use super::Ends;

const HEADER: usize = 16;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `ESTABLISHED`, `FIN_WAIT1`, `FIN_WAIT2`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`. In others a socket is not connected yet
/// or no more, or waits for connections.
const CONNECTED: [u8; 6] = [1, 4, 5, 8, 9, 11];
/// Behind the header: family, state, and two bytes that do not matter here; then the ends.
const STATE: usize = HEADER + 1;
const ENDS: usize = HEADER + 4;
/// Ports, both addresses and the device before it.
const COOKIE: usize = ENDS + 2 + 2 + 16 + 16 + 4;

/// The cookie of the agent's socket; none where it is not connected to the one that the proxy accepted.
pub(super) fn cookie_of(ends: &Ends) -> Option<u64> {
    let cookie = find(ends.from, ends.to)?;
    // Asked after the other.
    (find(ends.at, ends.from) == Some(ends.cookie)).then_some(cookie)
}

/// The cookie of the TCP socket whose own end is `from`; none where there is no such connection.
fn find(from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let socket = Netlink::open(Subsystem::Sockets).ok()?;
    socket.send(&question(from, to)).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.receive(&mut buffer).ok()?;
    read(buffer.get(..length)?, from, to)
}

fn question(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { IPV4 } else { IPV6 };
    let mut body = vec![family, TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(ends(from, to));
    body.extend([0; 4]);
    // No cookie: whatever socket it is.
    body.extend([0xff; 8]);
    let length = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// As the kernel writes them: own port, other port, own address, other address.
fn ends(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let mut wide = ip.octets().to_vec();
            wide.resize(16, 0);
            wide
        }
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    [ports, address(from.ip()), address(to.ip())].concat()
}

fn read(message: &[u8], from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if kind != BY_FAMILY || !CONNECTED.contains(message.get(STATE)?) {
        return None;
    }
    let told = message.get(ENDS..)?.get(..36)?;
    // An IPv4 connection of an IPv6 socket is told with mapped addresses.
    let mapped = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), end.port()),
        IpAddr::V6(_) => end,
    };
    let same = told == ends(from, to) || told == ends(mapped(from), mapped(to));
    let cookie = u64::from_ne_bytes(*message.get(COOKIE..)?.first_chunk()?);
    same.then_some(cookie)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use rustix::net::{AddressFamily, SocketType, sockopt};

    use super::*;

    #[test]
    fn a_connection_is_found_by_its_ends_and_no_other_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (from, to) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let own = rustix::net::sockopt::socket_cookie(&stream).unwrap();
        assert_eq!(find(from, to), Some(own));
        let (accepted, _) = listener.accept().unwrap();
        let other = rustix::net::sockopt::socket_cookie(&accepted).unwrap();
        assert_eq!(find(to, from), Some(other));
        assert_eq!(cookie_of(&Ends { from, to, at: to, cookie: other }), Some(own));
        // Where only the listener has the end there is no connection.
        assert_eq!(find(to, "127.0.0.1:1".parse().unwrap()), None);
        assert_eq!(find("127.0.0.1:1".parse().unwrap(), to), None);
    }

    /// Connects with this end, which another socket may just have left.
    fn connected(from: SocketAddr, to: SocketAddr) -> TcpStream {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &from).unwrap();
        rustix::net::connect(&socket, &to).unwrap();
        socket.into()
    }

    #[test]
    fn a_port_that_another_socket_took_over_is_not_the_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let first = connected("127.0.0.1:0".parse().unwrap(), to);
        let from = first.local_addr().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let cookie = sockopt::socket_cookie(&accepted).unwrap();
        let ends = Ends { from, to, at: to, cookie };
        assert!(cookie_of(&ends).is_some());
        // What it sent can still be read when it is gone.
        sockopt::set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
        drop(first);
        assert_eq!(cookie_of(&ends), None);
        let second = connected(from, to);
        let (next, _) = listener.accept().unwrap();
        assert_eq!(cookie_of(&ends), None, "the port is another's by now");
        let cookie = sockopt::socket_cookie(&next).unwrap();
        assert_eq!(cookie_of(&Ends { cookie, ..ends }), sockopt::socket_cookie(&second).ok());
    }

    /// The proxy's socket lives on where the agent's vanished without a word; who takes its port is not connected.
    #[test]
    fn a_socket_that_still_connects_has_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        // Nobody accepts: a full queue answers nothing.
        rustix::net::listen(&listener, 0).unwrap();
        let _queued = TcpStream::connect(to).unwrap();
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        assert!(rustix::net::connect(&socket, &to).is_err(), "it waits");
        let from: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
        assert_eq!(find(from, to), None);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let end: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for length in 0..80 {
            let mut message = vec![0; length];
            if let Some(kind) = message.get_mut(4..6) {
                kind.copy_from_slice(&BY_FAMILY.to_ne_bytes());
            }
            assert_eq!(read(&message, end, end), None, "{length}");
        }
    }
}
