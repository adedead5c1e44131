//! Handshakes, and what real programs say of the chain.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::Arc,
    thread,
    time::SystemTime,
};

use rustls::{ClientConnection, HandshakeKind, ServerConnection, StreamOwned, pki_types::ServerName};

use crate::{
    Alpn, Authority, Leaves, Offered, Roots, Terminator, TlsError, authority::DAY, client_config,
    parse_certificates,
};

fn terminator(sandbox: &str) -> Terminator {
    Terminator::new(Arc::new(Leaves::new(Authority::generate(sandbox).unwrap()).unwrap())).unwrap()
}

fn trusting(terminator: &Terminator) -> Roots {
    Roots::only(&[terminator.leaves().authority().certificate_pem().to_owned()]).unwrap()
}

/// A handshake in memory; the names that the server saw and the protocol.
fn shake(
    terminator: &Terminator,
    roots: &Roots,
    name: &str,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let config = client_config(roots, Alpn::Http2OrHttp1).unwrap();
    let client = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap())?;
    finish(terminator, client, None)
}

fn finish(
    terminator: &Terminator,
    mut client: ClientConnection,
    nameless: Option<&str>,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let mut server = ServerConnection::new(terminator.config(nameless, Offered::Http2OrHttp1))?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((server, client))
}

#[test]
fn names_and_addresses_verify() {
    let terminator = terminator("demo");
    let roots = trusting(&terminator);
    let long = format!("{}.example.com", "a".repeat(63));
    for name in ["api.github.com", "localhost", "xn--bcher-kva.example", "under_score.example", &long] {
        let (server, client) = shake(&terminator, &roots, name).unwrap();
        assert_eq!(server.server_name(), Some(name));
        assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    }
    for address in ["127.0.0.1", "::1", "198.18.3.4"] {
        let config = client_config(&roots, Alpn::Http1).unwrap();
        let client =
            ClientConnection::new(config, ServerName::try_from(address.to_owned()).unwrap()).unwrap();
        let (server, client) = finish(&terminator, client, Some(address)).unwrap();
        assert_eq!(server.server_name(), None);
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[test]
fn another_sandbox_is_not_trusted_and_no_name_gets_no_leaf() {
    let (one, other) = (terminator("one"), terminator("other"));
    assert!(shake(&one, &trusting(&other), "a.example").is_err());
    let config = client_config(&trusting(&one), Alpn::Http1).unwrap();
    let client = ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    assert!(finish(&one, client, None).is_err());
}

#[test]
fn a_session_is_resumed_for_its_own_name() {
    let terminator = terminator("demo");
    let config = client_config(&trusting(&terminator), Alpn::Http2OrHttp1).unwrap();
    let connect = |name: &'static str| {
        let client = ClientConnection::new(Arc::clone(&config), ServerName::try_from(name).unwrap()).unwrap();
        finish(&terminator, client, None).unwrap().1.handshake_kind()
    };
    assert_eq!(connect("a.example"), Some(HandshakeKind::Full));
    assert_eq!(connect("a.example"), Some(HandshakeKind::Resumed));
    assert_eq!(connect("b.example"), Some(HandshakeKind::Full));
}

#[test]
fn an_authority_survives_pem_and_a_foreign_key_does_not() {
    let made = Authority::generate("a-sandbox").unwrap();
    let (certificate, key) = (made.certificate_pem().to_owned(), made.key_pem());
    assert!(!format!("{made:?}").contains("PRIVATE"));
    let taken = Authority::from_pem(&certificate, &key).unwrap();
    let terminator = Terminator::new(Arc::new(Leaves::new(taken).unwrap())).unwrap();
    shake(&terminator, &Roots::only(std::slice::from_ref(&certificate)).unwrap(), "x.example").unwrap();
    let foreign = Authority::generate("a-sandbox").unwrap().key_pem();
    for (certificate, key) in [(certificate.as_str(), &foreign), ("", &key), (include_str!("lib.rs"), &key)] {
        assert!(matches!(Authority::from_pem(certificate, key), Err(TlsError::BadAuthority(_))));
    }
    let no_key = chiton_secret::SecretValue::new(certificate.clone().into());
    assert!(matches!(Authority::from_pem(&certificate, &no_key), Err(TlsError::BadAuthority(_))));
}

#[test]
fn leaves_are_kept_renewed_and_forgotten() {
    let leaves = Leaves::new(Authority::generate("demo").unwrap()).unwrap();
    let now = SystemTime::now();
    let first = leaves.leaf_at("A.example.", now).unwrap();
    assert!(Arc::ptr_eq(&first, &leaves.leaf_at("a.example", now + DAY).unwrap()));
    assert!(!Arc::ptr_eq(&first, &leaves.leaf_at("a.example", now + DAY * 16).unwrap()));
    let leaf = leaves.leaf_at("b.example", now).unwrap();
    assert!(!Arc::ptr_eq(&leaf, &leaves.leaf_at("b.example", now - DAY * 3).unwrap()));
    for number in 0..3000 {
        leaves.leaf_at(&format!("h{number}.example"), now).unwrap();
        leaves.leaf_at("kept.example", now).unwrap();
    }
    assert_eq!(leaves.cached_len(), 2048);
    for bad in ["", "a b", "bücher.example", "a/b", "*.example", &"x.".repeat(200)] {
        assert!(leaves.leaf(bad).is_err(), "{bad}");
    }
}

#[test]
fn bad_roots_are_named() {
    let good = Authority::generate("demo").unwrap().certificate_pem().to_owned();
    let broken = format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = parse_certificates("`/etc/ca.pem`", &broken).unwrap_err().to_string();
    assert!(error.starts_with("certificate 2 of `/etc/ca.pem`"), "{error}");
    let error = Roots::only(&[good.clone(), "nothing".into()]).unwrap_err().to_string();
    assert!(error.starts_with("`extra_ca[1]`"), "{error}");
    assert_eq!(Roots::only(&[format!("{good}{good}")]).unwrap().store.len(), 2);
    assert!(Roots::only(&[]).is_err());
    assert!(
        parse_certificates("p", &Authority::generate("x").unwrap().certificate_pem().replace("MII", "!!!"))
            .is_err()
    );
}

/// One HTTP answer on a real socket, and a program that asks for it.
fn asked_by(program: &str, name: &str, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Output {
    let terminator = terminator("demo");
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, terminator.leaves().authority().certificate_pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = Arc::unwrap_or_clone(terminator.config(Some(name), Offered::Http2OrHttp1));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = thread::spawn(move || {
        let Ok((socket, _)) = listener.accept() else { return };
        let Ok(connection) = ServerConnection::new(Arc::new(config)) else { return };
        answer(StreamOwned::new(connection, socket));
    });
    let output = Command::new(program).args(arguments(port, &pem)).output();
    // Where the program never came, the server must not wait for ever.
    let _ = TcpStream::connect(("127.0.0.1", port));
    server.join().unwrap();
    output.unwrap_or_else(|error| panic!("`{program}` is needed: {error}"))
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nhello!\n");
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn check(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let both = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && text(&output.stdout).contains("hello!"), "{both}");
}

#[test]
fn curl_accepts_the_chain() {
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version: Vec<String> = version.split('=').map(str::to_owned).collect();
        check(&asked_by("curl", "api.github.com", |port, pem| {
            let to = format!("api.github.com:443:127.0.0.1:{port}");
            let fixed = ["-sS", "--noproxy", "*", "--cacert", pem.to_str().unwrap(), "--connect-to", &to];
            let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
            all.extend(version.iter().cloned());
            all.push("https://api.github.com/".into());
            all
        }));
    }
}

#[test]
fn openssl_accepts_the_chain_strictly() {
    check(&asked_by("sh", "api.github.com", |port, pem| {
        let pem = pem.display();
        let script = format!(
            "printf 'GET / HTTP/1.1\\r\\nhost: api.github.com\\r\\n\\r\\n' | openssl s_client -quiet -x509_strict \
             -verify_return_error -verify_hostname api.github.com -servername api.github.com \
             -CAfile {pem} -connect 127.0.0.1:{port}"
        );
        vec!["-c".into(), script]
    }));
}

#[test]
fn python_accepts_the_chain_strictly_by_name_and_by_address() {
    for name in ["api.github.com", "127.0.0.1"] {
        check(&asked_by("python3", name, |port, pem| {
            let script = "import ssl,socket,sys\n\
                c=ssl.create_default_context(cafile=sys.argv[2])\n\
                c.verify_flags|=ssl.VERIFY_X509_STRICT|getattr(ssl,'VERIFY_X509_PARTIAL_CHAIN',0)\n\
                s=c.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[1]))),server_hostname=sys.argv[3])\n\
                s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\n\
                print(s.makefile().read())";
            vec!["-c".into(), script.into(), port.to_string(), pem.display().to_string(), name.into()]
        }));
    }
}

#[test]
fn a_bundle_is_given_on_without_what_cannot_be_a_root() {
    let (one, other) = (Authority::generate("one").unwrap(), Authority::generate("other").unwrap());
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("# one\n{}{bad}\n# other\n{}", one.certificate_pem(), other.certificate_pem());
    let given = crate::upstream::usable(&bundle);
    assert_eq!(given.len(), 2);
    assert_eq!(Roots::only(&given).unwrap().store.len(), 2);
    assert!(crate::upstream::usable("").is_empty());
}
