//! A plain HTTPS client on one kept-alive connection: `client ADDRESS NAME PATH COUNT`, trusting `SSL_CERT_FILE`.
//! Prints the median time of a request in nanoseconds, and the bytes a second.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs::default_provider,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

/// A connection.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

pub fn run(arguments: &[String]) -> ExitCode {
    let [address, name, path, count] = arguments else { return ExitCode::from(2) };
    let count: usize = count.parse().expect("a count");
    let mut stream = connect(address, name);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    let mut times = Vec::with_capacity(count);
    let begun = Instant::now();
    for _ in 0..count {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).expect("a request");
        total += response(&mut stream, &mut buffer);
        times.push(sent.elapsed().as_nanos());
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    println!("{} {}", times[times.len() / 2], (total as f64 / seconds) as u64);
    ExitCode::SUCCESS
}

/// Connects, trusting `SSL_CERT_FILE`.
pub(crate) fn connect(address: &str, name: &str) -> Stream {
    let file = std::env::var("SSL_CERT_FILE").expect("SSL_CERT_FILE");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).expect("certificates") {
        let _ = roots.add(certificate.expect("a certificate"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let tcp = TcpStream::connect(address).expect("a connection");
    tcp.set_nodelay(true).expect("nodelay");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), tcp)
}

/// Reads one response by its length, and says how long the body was.
fn response(stream: &mut Stream, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    let (head, length) = loop {
        let read = stream.read(&mut buffer[filled..]).expect("a response");
        assert!(read > 0, "the connection ended");
        filled += read;
        let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        let length = text.lines().find_map(|l| l.strip_prefix("content-length:")).expect("a length");
        break (end + 4, length.trim().parse::<usize>().expect("a length"));
    };
    let mut left = length - (filled - head);
    while left > 0 {
        let read = stream.read(buffer).expect("a body");
        assert!(read > 0, "the body was cut");
        left -= read;
    }
    length
}
