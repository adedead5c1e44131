//! WebSockets, opened: over both versions, only where the rule says so, and only on an answer that is one.

use bytes::{Bytes, BytesMut};
use chiton_testkit::{Router, routes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::websocket::frame::{self, Opcode, Piece, Reader, Side};

pub(super) const OPEN: &str = "dynamic: {network: {http: [{host: api.test, websocket: true, paths: [/**]}]}}";
const SHUT: &str = "dynamic: {network: {http: [{host: api.test, paths: [/**]}]}}";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(super) fn server(ca: &TestCa) -> Upstream {
    let router =
        Router::new().any("/ws", routes::websocket::answer_request).any("/", routes::echo::answer_request);
    Upstream::tls(ca, &["api.test"], router)
}

pub(super) fn handshake(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: api.test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    )
}

/// An agent's end of a WebSocket.
pub(super) struct Client<S> {
    pub(super) stream: S,
    pub(super) reader: Reader,
    pub(super) input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) async fn send(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let (mut out, payload) = (BytesMut::new(), BytesMut::from(payload));
        frame::put(&mut out, &Piece { fin, compressed: false, opcode, payload }, Some([9, 8, 7, 6]));
        self.stream.write_all(&out).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next piece; none where the stream ended.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.reader.take(&mut self.input).unwrap() {
                return Some(piece);
            }
            let read = self.stream.read_buf(&mut self.input);
            let read = tokio::time::timeout(std::time::Duration::from_secs(20), read).await.unwrap();
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next whole message.
    pub(super) async fn message(&mut self) -> (Opcode, Vec<u8>) {
        let first = self.next().await.unwrap();
        let (mut fin, mut all) = (first.fin, first.payload.to_vec());
        while !fin {
            let more = self.next().await.unwrap();
            assert_eq!(more.opcode, Opcode::Continuation);
            all.extend_from_slice(&more.payload);
            fin = more.fin;
        }
        (first.opcode, all)
    }

    /// The code of the close frame that comes next.
    pub(super) async fn closed(&mut self) -> u16 {
        let piece = self.next().await.expect("a close frame");
        assert_eq!(piece.opcode, Opcode::Close, "{piece:?}");
        u16::from_be_bytes(piece.payload[..2].try_into().unwrap())
    }
}

/// Opens one over HTTP/1.1; the head of the answer beside it.
pub(super) async fn open(bench: &Bench, target: &str, more: &str) -> (Client<TlsStream<TcpStream>>, String) {
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    stream.write_all(handshake(target, more).as_bytes()).await.unwrap();
    let mut input = BytesMut::new();
    let end = loop {
        assert!(stream.read_buf(&mut input).await.unwrap() > 0, "{input:?}");
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(input.split_to(end).to_vec()).unwrap();
    let compression = head.contains("permessage-deflate");
    (Client { stream, reader: Reader::new(Side::Server, compression), input }, head)
}

/// Asks for one over HTTP/2.
pub(super) async fn connect(
    client: &mut h2::client::SendRequest<Bytes>,
    target: &str,
    protocol: &'static str,
) -> (http::Response<h2::RecvStream>, h2::SendStream<Bytes>) {
    let request = http::Request::builder()
        .method("CONNECT")
        .uri(format!("https://api.test{target}"))
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from_static(protocol))
        .body(())
        .unwrap();
    let (answer, send) = client.send_request(request, false).unwrap();
    (answer.await.unwrap(), send)
}

pub(super) async fn http2_client(bench: &Bench) -> h2::client::SendRequest<Bytes> {
    let stream = bench.connect_tls("api.test", "api.test", &["h2"]).await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let client = client.ready().await.unwrap();
    while !client.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    client
}

/// What the server was told, once this is the last of it.
pub(super) async fn told(upstream: &Upstream, last: &str) -> String {
    for _ in 0..1000 {
        let told: String =
            upstream.requests().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
        if told.ends_with(last) {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?} does not end with {last:?}", upstream.requests());
}

#[tokio::test]
async fn messages_go_both_ways_over_http1() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let more = "sec-websocket-protocol: chat\r\norigin: https://x.test\r\n";
    let (mut client, head) = open(&bench, "/ws?protocol=chat", more).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The answer to the agent's own key, by the standard's example.
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: chat") && head.contains("connection: Upgrade"), "{head}");
    client.send(true, Opcode::Text, b"hello").await;
    assert_eq!(client.message().await, (Opcode::Text, b"hello".to_vec()));
    client.send(false, Opcode::Binary, b"one ").await;
    client.send(true, Opcode::Ping, b"there?").await;
    client.send(true, Opcode::Continuation, b"two").await;
    let first = client.next().await.unwrap();
    assert_eq!((first.fin, &first.payload[..]), (false, &b"one "[..]));
    assert_eq!(client.message().await, (Opcode::Pong, b"there?".to_vec()));
    assert_eq!(client.next().await.unwrap().payload, b"two"[..]);
    let big = vec![b'b'; 1 << 20];
    client.send(true, Opcode::Binary, &big).await;
    assert_eq!(client.message().await, (Opcode::Binary, big));
    client.send(true, Opcode::Close, &1000u16.to_be_bytes()).await;
    assert_eq!(client.closed().await, 1000);
    assert!(client.next().await.is_none());
    let seen = &upstream.requests()[0];
    assert_eq!((seen.protocol.as_str(), seen.header("origin")), ("HTTP/1.1", Some("https://x.test")));
    assert!(seen.header("sec-websocket-key").is_some_and(|key| key != KEY));
    let response = bench.event("response").await.response.unwrap();
    assert_eq!(response.status, Some(101));
    assert!(response.bytes.unwrap() > 1 << 20, "{response:?}");
    assert!(!bench.proxy.running.is_busy());
}

#[tokio::test]
async fn messages_go_both_ways_over_http2() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut h2 = http2_client(&bench).await;
    let (answer, mut send) = connect(&mut h2, "/ws", "websocket").await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let mut body = answer.into_body();
    let (mut out, mut reader, mut input) =
        (BytesMut::new(), Reader::new(Side::Server, false), BytesMut::new());
    let text = Piece { fin: true, compressed: false, opcode: Opcode::Text, payload: b"hello"[..].into() };
    frame::put(&mut out, &text, Some([1, 2, 3, 4]));
    frame::put(&mut out, &frame::close(1000, ""), Some([1, 2, 3, 4]));
    send.send_data(out.freeze(), false).unwrap();
    let mut pieces = Vec::new();
    while let Some(data) = body.data().await {
        input.extend_from_slice(&data.unwrap());
        while let Some(piece) = reader.take(&mut input).unwrap() {
            pieces.push(piece);
        }
    }
    assert_eq!(pieces, [text, frame::close(1000, "")]);
    // The other streams of the connection are ordinary.
    let asked = http::Request::builder().uri("https://api.test/bytes?n=1").body(()).unwrap();
    assert_eq!(h2.send_request(asked, true).unwrap().0.await.unwrap().status(), 200);
    assert_eq!(upstream.requests()[0].method, "GET");
    assert_eq!(upstream.requests()[0].protocol, "HTTP/1.1");
}

#[tokio::test]
async fn only_where_the_rule_opens_them() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(SHUT, &ca, "api.test", &upstream);
    let answer = bench.raw("api.test", &handshake("/ws", "").replace("Upgrade", "close, Upgrade")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("x-chiton-denied: scheme_not_allowed"), "{answer}");
    assert!(answer.contains("`websocket: true`") && answer.contains("http[0]"), "{answer}");
    let mut h2 = http2_client(&bench).await;
    for (target, protocol, reason) in [
        ("/ws", "websocket", "scheme_not_allowed"),
        ("/a//b", "websocket", "ambiguous_request"),
        ("/ws", "connect-udp", "ambiguous_request"),
    ] {
        let (answer, _) = connect(&mut h2, target, protocol).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-chiton-denied"]),
            (403, &reason.parse().unwrap())
        );
    }
    assert_eq!(upstream.log().connections(), 0);
    // The path is judged as that of any GET.
    let narrow = OPEN.replace("/**", "/live");
    assert_eq!(bench.apply(2, &narrow).await.unwrap(), 0);
    let (_, head) = open(&bench, "/ws", "").await;
    assert!(head.contains("x-chiton-denied: path_not_allowed"), "{head}");
    assert_eq!(upstream.log().connections(), 0);
}

#[tokio::test]
async fn what_is_no_handshake_is_not_guessed() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for broken in [
        handshake("/ws", "content-length: 5\r\n") + "hello",
        handshake("/ws", "").replace("13", "12"),
        handshake("/ws", "").replace(KEY, "short"),
        handshake("/ws", &format!("sec-websocket-key: {KEY}\r\n")),
    ] {
        let answer = bench.raw("api.test", &broken).await;
        assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{broken}: {answer}");
    }
    assert_eq!(upstream.log().connections(), 0);
    // Another protocol is not asked for, and the request is an ordinary one.
    let other =
        handshake("/headers", "").replace(": websocket", ": h2c").replace(": Upgrade", ": Upgrade, close");
    assert!(bench.raw("api.test", &other).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(upstream.requests()[0].header("upgrade"), None);
}

#[tokio::test]
async fn an_upgrade_that_is_not_answered_101_stays_http() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    // What follows is judged as a request, and never sent along.
    let smuggled = "POST /ws HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for status in ["200", "400", "204"] {
        let request = handshake(&format!("/status/{status}"), "") + smuggled;
        let answer = bench.raw("api.test", &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
        assert!(answer.contains("x-chiton-denied: method_not_allowed"), "{answer}");
    }
    // Over HTTP/2 a success would open a stream.
    let mut h2 = http2_client(&bench).await;
    for (status, wanted) in [("200", 502), ("204", 502), ("401", 401)] {
        let (answer, _) = connect(&mut h2, &format!("/status/{status}"), "websocket").await;
        assert_eq!(answer.status().as_u16(), wanted);
    }
    assert!(upstream.requests().iter().all(|seen| seen.target.starts_with("/status/")));
}

#[tokio::test]
async fn an_answer_that_was_not_asked_for_opens_nothing() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for target in
        ["/ws?accept=s3pPLMBiTxaQ9kYGzzhZRbK", "/ws?extensions=permessage-deflate", "/ws?protocol=chat"]
    {
        let (_, head) = open(&bench, target, "").await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{target}: {head}");
    }
    let more = "sec-websocket-extensions: x-other, permessage-deflate\r\n";
    let (_, head) = open(&bench, "/ws?extensions=permessage-deflate", more).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("permessage-deflate"), "{head}");
    assert_eq!(
        upstream.requests().last().unwrap().header("sec-websocket-extensions"),
        Some("permessage-deflate")
    );
    let (_, head) = open(&bench, "/ws?extensions=x-other", more).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}
