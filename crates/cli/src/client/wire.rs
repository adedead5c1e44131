//! HTTP/1.1 over a Unix socket, as little of it as the gateway's own API needs: one request a connection,
//! blocking. A start of the command line must not cost an async runtime.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

/// No head of the gateway's is longer.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 64;

/// One request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// `GET`, `POST`, …
    pub(crate) method: &'a str,
    /// The target, already percent-encoded.
    pub(crate) target: &'a str,
    /// A JSON body.
    pub(crate) body: Option<Vec<u8>>,
    /// The protocol to upgrade to.
    pub(crate) upgrade: Option<&'a str>,
}

/// An answer, its body still to be read.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<UnixStream>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked { left: u64, ended: bool },
    UntilClose,
}

/// Sends a request and reads the answer's head.
pub(crate) fn exchange(stream: UnixStream, request: &Request<'_>) -> io::Result<Response> {
    send(&stream, request)?;
    answer(stream)
}

/// Sends a request.
pub(crate) fn send(mut stream: &UnixStream, request: &Request<'_>) -> io::Result<()> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: chiton\r\n", request.method, request.target);
    match request.upgrade {
        Some(protocol) => head.push_str(&format!("connection: upgrade\r\nupgrade: {protocol}\r\n")),
        None => head.push_str("connection: close\r\n"),
    }
    let body = request.body.as_deref().unwrap_or_default();
    if request.body.is_some() {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    } else if request.method != "GET" {
        head.push_str("content-length: 0\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)
}

/// Reads the head of the answer to what was sent.
pub(crate) fn answer(stream: UnixStream) -> io::Result<Response> {
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&head).map_err(invalid)?;
        let status = parsed.code.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let framing = framing(status, parsed.headers)?;
        let text = |h: &httparse::Header<'_>| {
            (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned())
        };
        let headers = parsed.headers.iter().map(text).collect();
        return Ok(Response { status, headers, reader, framing });
    }
}

fn read_head(reader: &mut BufReader<UnixStream>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let limit = MAX_HEAD.saturating_sub(head.len()) as u64;
        if reader.by_ref().take(limit).read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn framing(status: u16, headers: &[httparse::Header<'_>]) -> io::Result<Framing> {
    if status == 101 {
        return Ok(Framing::UntilClose);
    }
    if status == 204 || status == 304 {
        return Ok(Framing::Length(0));
    }
    let find = |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Framing::Chunked { left: 0, ended: false });
    }
    match find("content-length") {
        None => Ok(Framing::UntilClose),
        Some(value) => {
            let length = std::str::from_utf8(value).ok().and_then(|v| v.trim().parse().ok());
            length.map(Framing::Length).ok_or_else(|| invalid("content-length"))
        }
    }
}

fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {}", what.to_string()))
}

impl Response {
    /// A header's value; its name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The connection after an upgrade, and what was already read of it.
    pub(crate) fn into_stream(self) -> (UnixStream, Vec<u8>) {
        let early = self.reader.buffer().to_vec();
        (self.reader.into_inner(), early)
    }

    /// The whole body.
    pub(crate) fn bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.reader.by_ref().take(1024).read_line(&mut line)?;
        if line == "\r\n" {
            line.clear();
            self.reader.by_ref().take(1024).read_line(&mut line)?;
        }
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(invalid)?;
        if size == 0 {
            self.framing = Framing::Chunked { left: 0, ended: true };
        }
        Ok(size)
    }
}

impl Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = match self.framing {
            Framing::UntilClose => return self.reader.read(buf),
            Framing::Length(left) => left,
            Framing::Chunked { ended: true, .. } => 0,
            Framing::Chunked { left: 0, .. } => self.next_chunk()?,
            Framing::Chunked { left, .. } => left,
        };
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let read = self.reader.by_ref().take(left).read(buf)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - read as u64;
        self.framing = match self.framing {
            Framing::Chunked { .. } => Framing::Chunked { left, ended: false },
            Framing::Length(_) | Framing::UntilClose => Framing::Length(left),
        };
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &'static [u8]) -> (Response, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut seen = String::new();
            while !seen.ends_with("\r\n\r\n") {
                reader.read_line(&mut seen).unwrap();
            }
            theirs.write_all(bytes).unwrap();
            seen
        });
        let request = Request { method: "POST", target: "/x", body: None, upgrade: None };
        let response = exchange(ours, &request).unwrap();
        (response, server.join().unwrap())
    }

    #[test]
    fn reads_a_sized_body_after_an_interim_answer() {
        let (response, seen) =
            answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi!");
        assert_eq!(response.status, 201);
        assert_eq!(response.bytes().unwrap(), b"hi");
        assert!(seen.starts_with("POST /x HTTP/1.1\r\n") && seen.contains("content-length: 0\r\n"));
    }

    #[test]
    fn reads_chunks() {
        let (response, _) = answer(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        );
        assert_eq!(response.bytes().unwrap(), b"abcd");
    }

    #[test]
    fn a_cut_body_is_an_error() {
        let (response, _) = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc");
        assert!(response.bytes().is_err());
        let (response, _) = answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc");
        assert!(response.bytes().is_err());
    }

    #[test]
    fn an_upgrade_keeps_what_was_already_read() {
        let (response, _) = answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\nearly");
        assert_eq!(response.status, 101);
        let (mut stream, mut early) = response.into_stream();
        stream.read_to_end(&mut early).unwrap();
        assert_eq!(early, b"early");
    }
}
