//! How WebSockets end: broken frames, a revision that does not allow them, sides that do not read.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;

use super::{
    websocket::{OPEN, connect, http2_client, open, server, told},
    *,
};
use crate::websocket::frame::{Opcode, Reader, Side};

/// The same rule, without WebSockets: the GET that opened one is still allowed.
const SHUT: &str = "dynamic: {network: {http: [{host: api.test, paths: [/**]}]}}";

#[tokio::test]
async fn broken_frames_close_both_sides_with_1002() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for (number, bytes) in [
        &b"\x81\x02hi"[..],
        b"\xf1\x80\x00\x00\x00\x00",
        b"\xc1\x80\x00\x00\x00\x00",
        b"\x89\xfe\x00\x7e",
        // Another request is no frame.
        b"GET /secret HTTP/1.1\r\nhost: api.test\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let (mut client, _) = open(&bench, "/ws", "").await;
        client.send(true, Opcode::Text, format!("before {number}").as_bytes()).await;
        assert_eq!(client.message().await.1, format!("before {number}").as_bytes());
        client.stream.write_all(bytes).await.unwrap();
        assert_eq!(client.closed().await, 1002, "{bytes:?}");
        assert!(client.next().await.is_none());
        let told = told(&upstream, "close:1002\n").await;
        assert!(told.ends_with(&format!("text:before {number}\nclose:1002\n")), "{told}");
    }
    assert!(upstream.requests().iter().all(|seen| seen.target == "/ws"));
    // And a server's: masked, of an unknown kind, with a reserved bit.
    for said in ["818000000000", "8300", "9100", "c100"] {
        let (mut client, _) = open(&bench, &format!("/ws?say={said}"), "").await;
        assert_eq!(client.closed().await, 1002, "{said}");
        told(&upstream, "close:1002\n").await;
    }
}

#[tokio::test]
async fn a_new_revision_closes_both_sides_with_1008() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let (mut client, _) = open(&bench, "/ws", "").await;
    client.send(true, Opcode::Text, b"before").await;
    assert_eq!(client.message().await.1, b"before");
    // What still allows it leaves it alone.
    let same = OPEN.replace("/**", "/ws");
    assert_eq!(bench.apply(2, &same).await.unwrap(), 0);
    client.send(true, Opcode::Text, b"between").await;
    assert_eq!(client.message().await.1, b"between");
    let agent = async {
        let code = client.closed().await;
        client.send(true, Opcode::Close, &code.to_be_bytes()).await;
        // Too late: it is read by nobody.
        client.send(true, Opcode::Text, b"after").await;
        (code, client.next().await)
    };
    let (cut, (code, rest)) = tokio::join!(bench.apply(3, SHUT), agent);
    assert_eq!((cut.unwrap(), code, rest), (1, 1008, None));
    let told = told(&upstream, "close:1008\n").await;
    assert_eq!(told, "text:before\ntext:between\nclose:1008\n");
    let event = bench.event("cut").await;
    assert_eq!(event.reason.unwrap().as_str(), "scheme_not_allowed");
    let (_, head) = open(&bench, "/ws", "").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[tokio::test]
async fn over_http2_too() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let mut h2 = http2_client(&bench).await;
    let (answer, mut send) = connect(&mut h2, "/ws", "websocket").await;
    let mut body = answer.into_body();
    let agent = async {
        let mut input = BytesMut::from(&body.data().await.unwrap().unwrap()[..]);
        let piece = Reader::new(Side::Server, false).take(&mut input).unwrap().unwrap();
        send.send_data(vec![0x88, 0x80, 0, 0, 0, 0].into(), true).unwrap();
        while let Some(rest) = body.data().await {
            assert_eq!(rest.unwrap(), "");
        }
        piece
    };
    let (cut, piece) = tokio::join!(bench.apply(2, SHUT), agent);
    assert_eq!((cut.unwrap(), piece.opcode, &piece.payload[..2]), (1, Opcode::Close, &[0x03, 0xf0][..]));
    told(&upstream, "close:1008\n").await;
    // The connection goes on.
    let asked = http::Request::builder().uri("https://api.test/bytes?n=1").body(()).unwrap();
    assert_eq!(h2.send_request(asked, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_agent_that_does_not_read_or_answer_is_reset() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    for target in ["/ws", "/ws?flood=10000"] {
        let (mut client, _) = open(&bench, target, "").await;
        if target != "/ws" {
            // The kernel's buffers fill up.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let applied = timeout(Duration::from_secs(5), bench.apply(2, SHUT)).await.unwrap();
        assert_eq!(applied.unwrap(), 1);
        assert!(!bench.proxy.running.is_busy());
        let socket = client.stream.get_mut().0;
        let ended = tokio::io::copy(socket, &mut tokio::io::sink()).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{target}");
        bench.apply(3, OPEN).await.unwrap();
        // The same over HTTP/2, where the agent gives no more window.
        let mut h2 = http2_client(&bench).await;
        let (blocked, _send) = connect(&mut h2, target, "websocket").await;
        let applied = timeout(Duration::from_secs(5), bench.apply(4, SHUT)).await.unwrap();
        assert_eq!(applied.unwrap(), 1);
        assert!(!bench.proxy.running.is_busy());
        let mut body = blocked.into_body();
        let mut ended = None;
        while let Some(data) = body.data().await {
            if let Err(error) = data {
                ended = Some(error);
                break;
            }
        }
        assert!(ended.is_some(), "{target}: the stream was cut, not ended");
        bench.apply(5, OPEN).await.unwrap();
    }
}

#[tokio::test]
async fn who_does_not_read_stops_who_sends() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let (mut client, _) = open(&bench, "/ws?deaf=1", "").await;
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while timeout(Duration::from_secs(1), client.send(true, Opcode::Binary, &piece)).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "it takes everything");
    }
    // And can be cut nevertheless.
    drop(client);
    assert_eq!(timeout(Duration::from_secs(5), bench.apply(2, SHUT)).await.unwrap().unwrap(), 1);
    assert!(!bench.proxy.running.is_busy());
}

#[tokio::test]
async fn a_side_that_leaves_ends_the_other() {
    let ca = TestCa::new();
    let upstream = server(&ca);
    let bench = Bench::with(OPEN, &ca, "api.test", &upstream);
    let (mut client, _) = open(&bench, "/ws", "").await;
    client.send(true, Opcode::Text, b"here").await;
    assert_eq!(client.message().await.1, b"here");
    drop(upstream);
    assert!(client.next().await.is_none());
    while bench.proxy.running.is_busy() {
        tokio::task::yield_now().await;
    }
}
