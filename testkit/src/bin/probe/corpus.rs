//! A corpus of raw requests: each on a TLS connection of its own, several connections at a time.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use crate::{Attempt, Tried, answers, argument, blind, net};

pub(crate) const ATTEMPTS: &[Attempt] = &[("corpus", corpus)];

/// How long an answer may take before it counts as none.
const LIMIT: Duration = Duration::from_secs(10);
const WORKERS: usize = 8;

/// One connection.
#[derive(Deserialize)]
struct Case {
    id: String,
    host: String,
    server_name: String,
    http2: bool,
    answers: usize,
    bytes: String,
}

/// What came back on it.
#[derive(Serialize)]
struct Told {
    id: String,
    host: String,
    statuses: Vec<String>,
    bodies: Vec<String>,
    end: String,
}

/// `corpus FILE ANSWERS`: sends what the file says, and writes what came back to the other.
fn corpus(arguments: &[String]) -> Tried {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(argument(arguments, 0, ""))?)?;
    let mut addresses = HashMap::new();
    for case in &cases {
        if !addresses.contains_key(&case.host) {
            addresses.insert(case.host.clone(), net::address_of(&case.host)?);
        }
    }
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = converse(case, addresses[&case.host]);
                    told.lock().expect("no panic").push(one);
                }
            });
        }
    });
    let told = told.into_inner().expect("no panic");
    std::fs::write(argument(arguments, 1, ""), serde_json::to_vec(&told)?)?;
    Ok(format!("{} connections", told.len()))
}

fn converse(case: &Case, address: Ipv4Addr) -> Told {
    let mut read = answers::Answers::new(case.http2, case.bytes_are_head());
    let end = match exchange(case, address, &mut read) {
        Ok(()) => "ended".to_owned(),
        Err(error) => error.to_string(),
    };
    let (statuses, bodies) = read.into_parts();
    Told { id: case.id.clone(), host: case.host.clone(), statuses, bodies, end }
}

impl Case {
    fn raw(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.bytes).unwrap_or_default()
    }

    fn bytes_are_head(&self) -> bool {
        self.raw().starts_with(b"HEAD ")
    }
}

fn exchange(case: &Case, address: Ipv4Addr, answers: &mut answers::Answers) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&(address, 443).into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    let mut tls = StreamOwned::new(client(case)?, stream);
    // A refusal may come before all is written.
    let _ = tls.write_all(&case.raw()).and_then(|()| tls.flush());
    let mut buffer = vec![0; 64 << 10];
    while answers.count() < case.answers {
        match tls.read(&mut buffer)? {
            0 => return Ok(()),
            read => answers.take(&buffer[..read]),
        }
    }
    // Whatever else it makes of these bytes comes before it ends.
    tls.conn.send_close_notify();
    let _ = tls.flush();
    let _ = tls.sock.shutdown(Shutdown::Write);
    loop {
        match tls.read(&mut buffer)? {
            0 => return Ok(()),
            read => answers.take(&buffer[..read]),
        }
    }
}

fn client(case: &Case) -> io::Result<ClientConnection> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(blind::Blind))
        .with_no_client_auth();
    config.alpn_protocols = vec![if case.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = case.server_name.clone().try_into().map_err(io::Error::other)?;
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}
