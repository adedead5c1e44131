//! Attempts on the network.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixStream},
    },
    time::Duration,
};

use libc::c_int;

use crate::{Attempt, Tried, argument, checked};

const LIMIT: Duration = Duration::from_secs(3);

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("tcp", tcp),
    ("tcp-talk", tcp_talk),
    ("udp", udp),
    ("dns", dns),
    ("connect-unix", |a| UnixStream::connect(argument(a, 0, "")).map(|_| String::new())),
    ("connect-abstract", connect_abstract),
    ("raw-socket", |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP)),
    ("icmp-socket", |_| icmp()),
    ("packet-socket", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("netlink-socket", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    ("vsock-socket", |_| vsock()),
    ("alg-socket", |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    ("bluetooth-socket", |_| socket(libc::AF_BLUETOOTH, libc::SOCK_RAW, 1)),
    ("sctp-socket", |_| socket(libc::AF_INET, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP)),
    ("loopback", loopback),
    ("interfaces", |_| std::fs::read_to_string("/proc/net/dev")),
];

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Connects, and waits for a byte, the end or a reset: a captured connection is accepted first.
fn tcp(arguments: &[String]) -> Tried {
    let mut stream = TcpStream::connect_timeout(&address(argument(arguments, 0, ""))?, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut byte = [0];
    match stream.read(&mut byte)? {
        0 => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
        _ => Ok("the other end spoke".to_owned()),
    }
}

/// Connects, sends a text (`\n`, `\r` and `\0` as escapes), and tells what came back.
fn tcp_talk(arguments: &[String]) -> Tried {
    let mut stream = TcpStream::connect_timeout(&address(argument(arguments, 0, ""))?, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let text = argument(arguments, 1, "").replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0");
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    if answer.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::ECONNRESET));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends a datagram and waits for an answer.
fn udp(arguments: &[String]) -> Tried {
    let to = address(argument(arguments, 0, ""))?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(argument(arguments, 1, "probe").as_bytes(), to)?;
    let mut buffer = [0; 2048];
    let (read, _) = socket.recv_from(&mut buffer)?;
    Ok(format!("{read} bytes came back"))
}

/// `dns NAME [TYPE [SERVER]]`: the question's own bytes, without any resolver; tells code and addresses.
fn dns(arguments: &[String]) -> Tried {
    let kind: u16 = argument(arguments, 1, "1").parse().unwrap_or(1);
    let server = match arguments.get(2) {
        Some(server) => address(server)?,
        None => resolver()?,
    };
    let (answer, asked) = ask(argument(arguments, 0, ""), kind, server)?;
    Ok(describe(&answer, asked))
}

/// The IPv4 address that stands for a name.
pub(crate) fn address_of(name: &str) -> io::Result<Ipv4Addr> {
    let (answer, asked) = ask(name, 1, resolver()?)?;
    let data: [u8; 4] = answer
        .get(asked + 12..)
        .and_then(|data| data.try_into().ok())
        .ok_or_else(|| io::Error::other(format!("`{name}` has no address")))?;
    Ok(data.into())
}

/// The answer's bytes, and how long the question was.
fn ask(name: &str, kind: u16, server: SocketAddr) -> io::Result<(Vec<u8>, usize)> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        question.push(u8::try_from(label.len()).map_err(|_| io::ErrorKind::InvalidInput)?);
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(&question, server)?;
    let mut buffer = [0; 2048];
    let (read, _) = socket.recv_from(&mut buffer)?;
    Ok((buffer.get(..read).unwrap_or_default().to_vec(), question.len()))
}

fn resolver() -> io::Result<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf")?;
    let server = text.lines().find_map(|line| line.strip_prefix("nameserver "));
    let server: Ipv4Addr = server.and_then(|s| s.trim().parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    Ok((server, 53).into())
}

fn describe(answer: &[u8], question: usize) -> String {
    let code = answer.get(3).map_or(0, |byte| byte & 15);
    let count = answer.get(7).copied().unwrap_or(0);
    let data = answer.get(question + 12..).unwrap_or_default();
    let address = match data.len() {
        4 => Ipv4Addr::new(data[0], data[1], data[2], data[3]).to_string(),
        length => format!("{length} bytes"),
    };
    format!("code {code}, {count} answers, {address}")
}

fn connect_abstract(arguments: &[String]) -> Tried {
    let address = UnixAddress::from_abstract_name(argument(arguments, 0, ""))?;
    UnixStream::connect_addr(&address).map(|_| String::new())
}

fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Tried {
    // SAFETY: takes numbers.
    checked(unsafe { libc::socket(domain, kind, protocol) }.into()).map(|_| String::new())
}

/// An echo request to an address that is not ours.
fn icmp() -> Tried {
    // SAFETY: takes numbers.
    let ping = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP) }.into())?;
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::new(192, 0, 2, 1)).to_be() },
        sin_zero: [0; 8],
    };
    let request = [8_u8, 0, 0, 0, 0, 1, 0, 1];
    // SAFETY: the address and the bytes have their lengths.
    let sent = unsafe {
        libc::sendto(
            ping as c_int,
            request.as_ptr().cast(),
            request.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as u32,
        )
    };
    checked(sent as libc::c_long)?;
    let mut waiting = libc::pollfd { fd: ping as c_int, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, ours.
    let ready = unsafe { libc::poll(&raw mut waiting, 1, 1000) };
    if ready > 0 {
        Ok("an answer came back".to_owned())
    } else {
        Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
    }
}

/// The host (CID 2).
fn vsock() -> Tried {
    // SAFETY: takes numbers.
    let stream = checked(unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) }.into())?;
    // SAFETY: plain numbers; zero is valid.
    let mut to: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    (to.svm_family, to.svm_cid, to.svm_port) = (libc::AF_VSOCK as u16, 2, 1024);
    // SAFETY: the address has its length.
    let connected =
        unsafe { libc::connect(stream as c_int, (&raw const to).cast(), size_of_val(&to) as u32) };
    checked(connected.into()).map(|_| String::new())
}

/// A server and a client of our own, which must work.
fn loopback(_: &[String]) -> Tried {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    server.write_all(b"x")?;
    let mut byte = [0];
    client.read_exact(&mut byte)?;
    Ok(String::new())
}
