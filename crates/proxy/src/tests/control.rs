//! The control link: what is configured, when, by whom, and what a replacement takes over.

use std::{
    fs::File,
    net::{TcpListener as StdTcp, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use chiton_api::{
    control::{AuthorityMaterial, Listeners, ProxyConfig, ProxyReply, ProxyRequest, Upstream as Settings},
    frame,
};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, RecordType},
};
use tokio::net::UnixListener;

use super::*;
use crate::control::{Control, System};

const POLICY: &str = "dynamic: {network: {http: [{host: api.test}]}}";

/// A control link in a folder of its own, served by a task.
struct Link {
    stream: UnixStream,
    /// The gateway's end of what the proxy watches.
    gateway: UnixStream,
    served: tokio::task::JoinHandle<io::Result<()>>,
}

impl Link {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let system = System { roots: SystemRoots::Read(None), names: SystemNames::default() };
        let (gateway, watched) = UnixStream::pair().unwrap();
        watched.set_nonblocking(true).unwrap();
        let watched = tokio::net::UnixStream::from_std(watched).unwrap();
        let served = tokio::spawn(Control::new(system).serve(listener, watched));
        Self { stream: UnixStream::connect(path).unwrap(), gateway, served }
    }

    async fn ask(&self, request: ProxyRequest, descriptors: &[BorrowedFd<'_>]) -> ProxyReply {
        let bytes = frame::encode(&request).unwrap();
        let sent = chiton_sys::descriptors::send(&self.stream, &bytes, descriptors).unwrap();
        assert_eq!(sent, bytes.len());
        let mut stream = self.stream.try_clone().unwrap();
        tokio::task::spawn_blocking(move || frame::read_message(&mut stream).unwrap()).await.unwrap()
    }
}

/// What a driver hands over.
struct Handed {
    tcp: StdTcp,
    udp: UdpSocket,
    events: File,
}

impl Handed {
    fn new(folder: &Path) -> Self {
        let mut options = File::options();
        Self {
            tcp: StdTcp::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            events: options.read(true).append(true).create(true).open(folder.join("events")).unwrap(),
        }
    }

    fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.tcp.as_fd(), self.udp.as_fd(), self.events.as_fd()]
    }

    /// The address in the answer to a question by UDP.
    async fn resolve(&self, name: &str) -> Option<std::net::Ipv4Addr> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&question.to_vec().unwrap(), self.udp.local_addr().unwrap()).await.unwrap();
        let mut answer = vec![0; 512];
        let read = client.recv(&mut answer).await.unwrap();
        match Message::from_vec(&answer[..read]).unwrap().answers.first()?.data {
            RData::A(address) => Some(address.0),
            ref other => panic!("{other:?}"),
        }
    }
}

fn configure(revision: u64, policy: &str) -> ProxyRequest {
    let authority = Authority::generate("test").unwrap();
    ProxyRequest::Configure(Box::new(ProxyConfig {
        sandbox: "test".to_owned(),
        listeners: Listeners { tcp: 1, dns_udp: 1, dns_tcp: 0, dropped: 0, owners: 0 },
        revised: revised(revision, policy, &[]),
        authority: AuthorityMaterial {
            certificate: authority.certificate_pem().to_owned(),
            key: authority.key_pem(),
        },
        upstream: Settings { extra_ca: vec![TestCa::new().pem().to_owned()], ..Settings::default() },
    }))
}

#[tokio::test]
async fn configured_once_applied_often_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (link, handed) = (Link::new(folder.path(), "a"), Handed::new(folder.path()));
    let reply = link.ask(ProxyRequest::Apply(Box::new(revised(1, POLICY, &[]))), &[]).await;
    assert!(matches!(reply, ProxyReply::Failed(_)), "{reply:?}");
    let reply = link.ask(ProxyRequest::Status, &[]).await;
    assert!(matches!(reply, ProxyReply::Status(status) if status.revision.is_none()));
    let reply = link.ask(configure(3, POLICY), &handed.descriptors()).await;
    assert!(matches!(reply, ProxyReply::Enforcing { revision: 3, cut: 0 }), "{reply:?}");
    let reply = link.ask(configure(3, POLICY), &handed.descriptors()).await;
    assert!(matches!(reply, ProxyReply::Failed(_)), "{reply:?}");
    for (revision, policy) in [(3, POLICY), (2, POLICY), (4, "dynamic: {netwrk: {}}")] {
        let reply = link.ask(ProxyRequest::Apply(Box::new(revised(revision, policy, &[]))), &[]).await;
        assert!(matches!(reply, ProxyReply::Failed(_)), "{reply:?}");
    }
    let reply = link.ask(ProxyRequest::Apply(Box::new(revised(4, POLICY, &[]))), &[]).await;
    assert!(matches!(reply, ProxyReply::Enforcing { revision: 4, cut: 0 }), "{reply:?}");
    let reply = link.ask(ProxyRequest::Status, &[]).await;
    assert!(matches!(reply, ProxyReply::Status(status) if status.revision == Some(4)));
    let file = handed.events.as_fd();
    assert!(matches!(link.ask(ProxyRequest::Names, &[file]).await, ProxyReply::Failed(_)));
    assert!(matches!(link.ask(ProxyRequest::Names, &[file, file]).await, ProxyReply::Done));
    // Straight to the listener: not captured, so nowhere to bring it.
    // The reset may come before the connection is told.
    let straight = async { TcpStream::connect(handed.tcp.local_addr()?).await?.read(&mut [0; 8]).await };
    assert_eq!(straight.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(matches!(link.ask(ProxyRequest::Shutdown, &[]).await, ProxyReply::Done));
    link.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_its_gateway_only_a_configured_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = Link::new(folder.path(), "a");
    assert!(matches!(waiting.ask(ProxyRequest::Status, &[]).await, ProxyReply::Status(_)));
    drop(waiting.gateway);
    waiting.served.await.unwrap().unwrap();

    let (link, handed) = (Link::new(folder.path(), "b"), Handed::new(folder.path()));
    link.ask(configure(1, POLICY), &handed.descriptors()).await;
    let Link { stream, gateway, served } = link;
    drop(gateway);
    assert!(handed.resolve("api.test.").await.is_some());
    let link = Link { stream, gateway: UnixStream::pair().unwrap().0, served };
    let reply = link.ask(ProxyRequest::Status, &[]).await;
    assert!(matches!(reply, ProxyReply::Status(status) if status.revision == Some(1)));
}

#[tokio::test]
async fn a_replacement_knows_every_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let (link, handed) = (Link::new(folder.path(), "a"), Handed::new(folder.path()));
    link.ask(configure(1, POLICY), &handed.descriptors()).await;
    let first = handed.resolve("api.test.").await.unwrap();
    let second = handed.resolve("evil.test.").await.unwrap();
    link.served.abort();
    let handed = Handed::new(folder.path());
    let link = Link::new(folder.path(), "b");
    let reply = link.ask(configure(1, POLICY), &handed.descriptors()).await;
    assert!(matches!(reply, ProxyReply::Enforcing { .. }), "{reply:?}");
    let third = handed.resolve("new.test.").await.unwrap();
    assert!(![first, second].contains(&third));
    assert_eq!(handed.resolve("evil.test.").await, Some(second));
    assert_eq!(handed.resolve("api.test.").await, Some(first));
    let events = std::fs::read_to_string(folder.path().join("events")).unwrap();
    assert_eq!(events.matches("\"stand_in\"").count(), 3);
}

#[tokio::test]
async fn what_is_not_as_promised_ends_closed() {
    let folder = tempfile::tempdir().unwrap();
    let handed = Handed::new(folder.path());
    let [tcp, udp, _] = handed.descriptors();
    let link = Link::new(folder.path(), "a");
    let reply = link.ask(configure(1, POLICY), &[tcp, udp]).await;
    assert!(matches!(reply, ProxyReply::Failed(_)), "{reply:?}");
    let link = Link::new(folder.path(), "b");
    let reply = link.ask(configure(1, "{"), &handed.descriptors()).await;
    assert!(matches!(reply, ProxyReply::Failed(_)), "{reply:?}");
    // Garbage ends the connection, and nothing else.
    use std::io::{Read, Write};
    let mut garbage = UnixStream::connect(folder.path().join("b")).unwrap();
    garbage.write_all(b"\0\0\0\x02{}").unwrap();
    let ended = tokio::task::spawn_blocking(move || garbage.read(&mut [0; 8]).unwrap()).await.unwrap();
    assert_eq!(ended, 0);
}
