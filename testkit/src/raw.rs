//! A server that answers with bytes of the test's choice: broken framing, cut bodies, resets.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    ca::TestCa,
    log::{Log, Seen},
};

/// What is done once the head of a request has arrived.
#[derive(Clone, Debug)]
pub enum Script {
    /// These bytes, then the end of the TCP stream (without a TLS `close_notify`).
    Send(Vec<u8>),
    /// These bytes, then a TCP reset.
    SendThenReset(Vec<u8>),
    /// These bytes, then nothing, until the peer goes.
    SendThenStall(Vec<u8>),
    /// Nothing, until the peer goes.
    Stall,
}

/// A server that follows one script for every connection.
#[derive(Debug)]
pub struct RawUpstream {
    address: SocketAddr,
    log: Log,
    ended: Arc<AtomicBool>,
}

impl RawUpstream {
    /// HTTPS (ALPN `http/1.1`) for these names.
    #[must_use]
    pub fn tls(ca: &TestCa, names: &[&str], script: Script) -> Self {
        Self::start(Some(ca.server_config(names, &["http/1.1"])), script)
    }

    /// Plain TCP.
    #[must_use]
    pub fn plain(script: Script) -> Self {
        Self::start(None, script)
    }

    fn start(tls: Option<Arc<ServerConfig>>, script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let (log, ended) = (Log::default(), Arc::new(AtomicBool::new(false)));
        let (served, over) = (log.clone(), ended.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                served.connected();
                let (tls, script, log) = (tls.clone(), script.clone(), served.clone());
                thread::spawn(move || converse(stream, tls, &script, &log));
            }
        });
        Self { address, log, ended }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw: `target` holds the request's head as it came.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(stream: TcpStream, tls: Option<Arc<ServerConfig>>, script: &Script, log: &Log) {
    let control = stream.try_clone().expect("a second handle");
    // A reset throws away what still waits to be sent, as small pieces do for the peer's acknowledgement.
    control.set_nodelay(true).expect("TCP_NODELAY");
    match tls {
        None => follow(stream, script, log, &control),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("a TLS connection");
            follow(StreamOwned::new(connection, stream), script, log, &control);
        }
    }
}

fn follow(mut stream: impl Read + Write, script: &Script, log: &Log, control: &TcpStream) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    log.record(Seen { target: String::from_utf8_lossy(&head).into_owned(), ..Seen::default() });
    if let Script::SendThenStall(bytes) = script {
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }
    let reset = matches!(script, Script::SendThenReset(_));
    if let Script::Send(bytes) | Script::SendThenReset(bytes) = script {
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        if reset {
            // A linger of zero makes the close a reset.
            let linger = rustix::net::sockopt::set_socket_linger(control, Some(std::time::Duration::ZERO));
            linger.expect("SO_LINGER");
            return;
        }
        let _ = control.shutdown(std::net::Shutdown::Write);
    }
    while matches!(stream.read(&mut buffer), Ok(read) if read > 0) {}
}
