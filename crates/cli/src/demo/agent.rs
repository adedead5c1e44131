//! The demo's agent: this program inside the sandbox, trying one thing. It uses nothing that a bare Linux may
//! lack, knows of no proxy, and trusts what every program inside trusts.

use std::{
    fs, io,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use chiton_tls::{Alpn, Roots, client_config};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use crate::{
    error::{CliError, Status},
    output::Output,
};

/// The key that the agent sends: whatever it likes, it never leaves.
pub(crate) const OWN_KEY: &str = "sk-the-agents-own";
const LIMIT: Duration = Duration::from_secs(5);

/// `demo-agent http METHOD URL [BODY]`, `tcp ADDRESS`, `udp ADDRESS`, `mount`.
pub(crate) fn run(output: Output, words: &[String]) -> Result<Status, CliError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tried = match words.as_slice() {
        ["http", method, url] => http(method, url, ""),
        ["http", method, url, body] => http(method, url, body),
        ["tcp", address] => tcp(address),
        ["udp", address] => udp(address),
        ["mount"] => mount(),
        _ => return Err(CliError::new("not an attempt of the demo")),
    };
    match tried {
        Ok(said) => output.line(said.text).map(|()| said.status),
        Err(error) => output.line(error.to_string()).map(|()| Status::Failed),
    }
}

/// What an attempt has to say.
struct Said {
    text: String,
    status: Status,
}

fn http(method: &str, url: &str, body: &str) -> io::Result<Said> {
    let rest = url.strip_prefix("https://").ok_or(io::ErrorKind::InvalidInput)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = secure(host)?;
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {OWN_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        other => drop(other?),
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code: u16 = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let denied = answer.lines().find_map(|line| line.strip_prefix("x-chiton-denied: "));
    let first =
        denied.map_or_else(|| format!("status {code}"), |reason| format!("status {code}, {}", reason.trim()));
    let status = if (200..300).contains(&code) { Status::Code(0) } else { Status::Failed };
    Ok(Said { text: format!("{first}\n{answer}"), status })
}

fn secure(host: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let roots = Roots::load(&[]).map_err(io::Error::other)?;
    let config = client_config(&roots, Alpn::Http1).map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&(resolve(host)?, 443).into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(StreamOwned::new(connection, stream))
}

/// One question to the name server of `/etc/resolv.conf`. A static program has no resolver to lean on.
fn resolve(host: &str) -> io::Result<Ipv4Addr> {
    let text = fs::read_to_string("/etc/resolv.conf")?;
    let server = text.lines().find_map(|line| line.strip_prefix("nameserver "));
    let server: Ipv4Addr = server.and_then(|s| s.trim().parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        question.push(u8::try_from(label.len()).map_err(io::Error::other)?);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(&question, (server, 53))?;
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer)?;
    // The record after the question: a name (two bytes), type, class, lifetime, length, address.
    let address = answer.get(question.len() + 12..length).and_then(|bytes| bytes.first_chunk::<4>());
    address.map(|bytes| Ipv4Addr::from(*bytes)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A connection counts when the other end says something.
fn tcp(text: &str) -> io::Result<Said> {
    let mut stream = TcpStream::connect_timeout(&address(text)?, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"hello\n")?;
    match stream.read(&mut [0])? {
        0 => Err(io::Error::other("closed without a word")),
        _ => Ok(Said { text: "the other end spoke".to_owned(), status: Status::Code(0) }),
    }
}

/// A datagram counts when one comes back.
fn udp(text: &str) -> io::Result<Said> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(b"hello\n", address(text)?)?;
    match socket.recv_from(&mut [0; 64]) {
        Ok(_) => Ok(Said { text: "an answer came".to_owned(), status: Status::Code(0) }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other("nothing came back")),
        Err(error) => Err(error),
    }
}

fn mount() -> io::Result<Said> {
    use rustix::mount::{MountFlags, mount};

    mount("none", "/tmp", "tmpfs", MountFlags::empty(), None)?;
    Ok(Said { text: "mounted".to_owned(), status: Status::Code(0) })
}
