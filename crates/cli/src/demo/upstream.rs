//! The server that stands for the internet: HTTPS on loopback, for every name that it is asked for.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use chiton_tls::{Authority, Leaves, Offered, Terminator, TlsError};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request is not longer.
const MAX_REQUEST: u64 = 64 << 10;
/// How a request to the model begins.
const MODEL: &str = "POST /v1/chat/completions ";

/// The server, and what it saw.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    certificate: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Its authority.
    #[error("cannot make the demo server's authority: {0}")]
    Tls(#[from] TlsError),
    /// Its port.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(#[from] io::Error),
}

impl Upstream {
    /// Serves on threads that end with the process.
    pub(crate) fn start() -> Result<Self, UpstreamError> {
        let leaves = Arc::new(Leaves::new(Authority::generate("demo internet")?)?);
        let certificate = leaves.authority().certificate_pem().to_owned();
        let terminator = Terminator::new(leaves)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, seen) = (http1(&terminator), Arc::clone(&seen));
                // A client that breaks off is no matter of ours.
                thread::spawn(move || converse(stream, config, &seen).ok());
            }
        });
        Ok(Self { address, certificate, requests })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its authority's certificate, PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether a text was in any request to the model.
    pub(crate) fn model_saw(&self, text: &str) -> bool {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().any(|request| request.starts_with(MODEL) && request.contains(text))
    }
}

fn http1(terminator: &Terminator) -> Arc<ServerConfig> {
    terminator.config(None, Offered::Http1)
}

fn converse(stream: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    while let Some((head, body)) = read_request(&mut reader)? {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{head}{body}"));
        let answer = answer(&head);
        let stream = reader.get_mut();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        stream.flush()?;
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.by_ref().take(MAX_REQUEST).read_line(&mut head)? == 0 || head.len() as u64 > MAX_REQUEST {
            return Ok(None);
        }
    }
    let mut body = Vec::new();
    match header(&head, "content-length").and_then(|length| length.parse().ok()) {
        Some(length) => reader.by_ref().take(std::cmp::min(length, MAX_REQUEST)).read_to_end(&mut body)?,
        None if header(&head, "transfer-encoding").is_some() => read_chunks(reader, &mut body)?,
        None => 0,
    };
    Ok(Some((head, String::from_utf8_lossy(&body).into_owned())))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let mut line = String::new();
        reader.by_ref().take(MAX_REQUEST).read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        reader.by_ref().take(size).read_to_end(body)?;
        let mut end = String::new();
        reader.by_ref().take(MAX_REQUEST).read_line(&mut end)?;
        if size == 0 || body.len() as u64 > MAX_REQUEST {
            return Ok(body.len());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The model's endpoint repeats the key that it got, as a careless server would; the others greet.
fn answer(head: &str) -> String {
    if !head.starts_with(MODEL) {
        return serde_json::json!({ "login": "octocat", "message": "hello from the demo server" })
            .to_string();
    }
    let key = header(head, "authorization").unwrap_or("no key");
    serde_json::json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-5",
        "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": format!("I was called with: {key}") } }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21 },
    })
    .to_string()
}
