//! Rules with `binaries`, and a supervisor that is told what to say.

use std::{os::unix::net::UnixDatagram, path::PathBuf, thread};

use chiton_api::owner::{Answer, Asked, Owner, Question, Told};
use chiton_testkit::Router;

use super::*;

const POLICY: &str = "dynamic: {network: {http: [{host: api.test, binaries: [/usr/bin/python3, '~/bin/tool']}, \
                      {host: open.test}]}}";

fn owner(executable: &str, fixed: bool) -> Owner {
    let in_home = executable.strip_prefix("/home/u/").map(|below| PathBuf::from("~").join(below));
    Owner { executable: executable.into(), in_home, fixed, script: None }
}

/// Answers every question about an owner with this, and says that `python3` leads to `python3.11`.
fn supervisor(told: Option<Owner>) -> (Owners, Arc<Mutex<Vec<Question>>>) {
    let (socket, ours) = UnixDatagram::pair().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(got) = ours.recv(&mut buffer) {
            let Ok(Asked { id, question }) = serde_json::from_slice(&buffer[..got]) else { return };
            log.lock().unwrap().push(question.clone());
            let answer = match question {
                Question::Owner { .. } => Answer::Owner(told.clone()),
                Question::LeadsTo(paths) => Answer::LeadsTo(
                    paths
                        .iter()
                        .map(|path| path.ends_with("python3").then(|| "/usr/bin/python3.11".into()))
                        .collect(),
                ),
            };
            // An answer to a proxy that is gone, and what is none, come first.
            let stale =
                Told { id: id.wrapping_sub(1), answer: Answer::Owner(Some(owner("/usr/bin/python3", true))) };
            for packet in [serde_json::to_vec(&stale).unwrap(), b"{".to_vec()] {
                ours.send(&packet).unwrap();
            }
            ours.send(&serde_json::to_vec(&Told { id, answer }).unwrap()).unwrap();
        }
    });
    (Owners::new(Some(socket.into())).unwrap(), asked)
}

fn bench(owners: Owners) -> (Bench, Upstream) {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["api.test", "open.test"], Router::echo());
    let resolve = vec![("api.test:443", upstream.address()), ("open.test:443", upstream.address())];
    let roots = vec![ca.pem().to_owned()];
    let bench =
        Bench::new(Setup { policy: POLICY, resolve, roots, owners: Some(owners), ..Setup::default() });
    (bench, upstream)
}

async fn status(told: Option<Owner>) -> (u16, String) {
    let (bench, _upstream) = bench(supervisor(told).0);
    let answer = bench.get("api.test", "/").await;
    (parts(&answer).0.as_u16(), answer)
}

#[tokio::test]
async fn an_owner_is_judged_by_every_name_that_the_policy_has_for_it() {
    assert_eq!(status(Some(owner("/usr/bin/python3.11", true))).await.0, 200);
    assert_eq!(status(Some(owner("/home/u/bin/tool", true))).await.0, 200);
    let (code, said) = status(Some(owner("/usr/bin/curl", true))).await;
    assert_eq!(code, 403);
    assert!(said.contains("binary_not_allowed") && said.contains("`/usr/bin/curl` asks"), "{said}");
    let (code, said) = status(Some(owner("/usr/bin/python3.11", false))).await;
    assert!(code == 403 && said.contains("`/usr/bin/python3.11` asks"), "{said}");
    let (code, said) = status(None).await;
    assert!(code == 403 && said.contains("cannot be told"), "{said}");
}

#[tokio::test]
async fn without_a_supervisor_there_is_no_owner() {
    let (bench, upstream) = bench(Owners::new(None).unwrap());
    assert_eq!(parts(&bench.get("api.test", "/").await).0, StatusCode::FORBIDDEN);
    assert_eq!(parts(&bench.get("open.test", "/").await).0, StatusCode::OK);
    assert_eq!(upstream.requests().len(), 1);
    // One that is gone is none either.
    let (socket, gone) = UnixDatagram::pair().unwrap();
    drop(gone);
    let (other, _upstream) = self::bench(Owners::new(Some(socket.into())).unwrap());
    assert_eq!(parts(&other.get("api.test", "/").await).0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn it_is_asked_once_for_a_connection_and_only_where_it_matters() {
    let (owners, asked) = supervisor(Some(owner("/usr/bin/python3.11", true)));
    let (bench, _upstream) = bench(owners);
    assert_eq!(parts(&bench.get("open.test", "/").await).0, StatusCode::OK);
    assert!(asked.lock().unwrap().is_empty());
    let mut stream = bench.connect_tls("api.test", "api.test", &["http/1.1"]).await;
    for _ in 0..3 {
        stream.write_all(b"HEAD / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
        let answer = read_until(&mut stream, b"\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let asked = asked.lock().unwrap().clone();
    let owners = asked.iter().filter(|question| matches!(question, Question::Owner { .. })).count();
    assert_eq!((owners, asked.len()), (1, 2), "{asked:?}");
    let event = bench.event("request").await;
    assert_eq!(event.binary, None, "who asks for `open.test` is nobody's question");
    assert!(bench.events().iter().any(|event| event.binary.as_deref() == Some("/usr/bin/python3.11")));
}

const UNREAD: &str = "dynamic: {network: {tcp: [{host: db.test, ports: [5432], binaries: [/usr/bin/python3]}], \
                      http: [{host: pin.test, tls: passthrough, binaries: [/usr/bin/python3]}]}}";

/// A bench in which `db.test:5432` is a server of ours, and whoever connects is this one.
async fn unread(policy: &str, told: Option<Owner>) -> (Bench, TcpListener, Arc<Mutex<Vec<Question>>>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (owners, asked) = supervisor(told);
    let resolve = vec![("db.test:5432", server.local_addr().unwrap())];
    let bench = Bench::new(Setup { policy, resolve, owners: Some(owners), ..Setup::default() });
    (bench, server, asked)
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read(&mut [0])).await;
    read.unwrap().is_err()
}

#[tokio::test]
async fn a_connection_that_nobody_looks_into_is_its_owners_too() {
    let (bench, server, asked) = unread(UNREAD, Some(owner("/usr/bin/python3.11", true))).await;
    let _agent = bench.connect("db.test", 5432).await;
    let _accepted = server.accept().await.unwrap();
    let event = bench.event("connect").await;
    assert_eq!(
        (event.decision, event.binary.as_deref()),
        (Some(Decision::Allow), Some("/usr/bin/python3.11"))
    );
    let owners = |asked: &[Question]| asked.iter().filter(|q| matches!(q, Question::Owner { .. })).count();
    assert_eq!(owners(&asked.lock().unwrap()), 1);
    for told in [None, Some(owner("/usr/bin/curl", true)), Some(owner("/usr/bin/python3.11", false))] {
        let (bench, server, _) = unread(UNREAD, told.clone()).await;
        assert!(is_reset(&mut bench.connect("db.test", 5432).await).await, "{told:?}");
        assert_eq!(bench.denials(), ["binary_not_allowed"], "{told:?}");
        let event = bench.event("connect").await;
        assert_eq!(event.rule.as_deref(), Some("tcp[0]"));
        assert_eq!(event.binary.map(PathBuf::from), told.map(|owner| owner.executable));
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), server.accept()).await;
        assert!(quiet.is_err(), "refused is untouched");
    }
}

#[tokio::test]
async fn tls_that_is_passed_through_is_its_owners_too() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &["pin.test"], Router::echo());
    for (told, passes) in [(owner("/usr/bin/python3.11", true), true), (owner("/usr/bin/curl", true), false)]
    {
        let resolve = vec![("pin.test:443", upstream.address())];
        let owners = Some(supervisor(Some(told)).0);
        let bench = Bench::new(Setup { policy: UNREAD, resolve, owners, ..Setup::default() });
        let roots = Roots::only(&[ca.pem().to_owned()]).unwrap();
        let config = client_config(&roots, Alpn::Http1).unwrap();
        let stream = bench.connect("pin.test", 443).await;
        let name = ServerName::try_from("pin.test").unwrap();
        assert_eq!(TlsConnector::from(config).connect(name, stream).await.is_ok(), passes);
        let expected: &[&str] = if passes { &[] } else { &["binary_not_allowed"] };
        assert_eq!(bench.denials(), expected);
    }
    assert_eq!(upstream.log().connections(), 1);
}

#[tokio::test]
async fn a_new_revision_judges_a_tunnel_by_its_owner() {
    let other = UNREAD.replace("/usr/bin/python3", "/usr/bin/curl");
    let open = UNREAD.replace(", binaries: [/usr/bin/python3]", "");
    let python = || Some(owner("/usr/bin/python3.11", true));
    // The same rule keeps it, one without `binaries` too; one for others cuts it.
    let (bench, server, _) = unread(UNREAD, python()).await;
    let mut agent = bench.connect("db.test", 5432).await;
    let _accepted = server.accept().await.unwrap();
    assert_eq!(bench.apply(2, UNREAD).await.unwrap(), 0);
    assert_eq!(bench.apply(3, &open).await.unwrap(), 0);
    assert_eq!(bench.apply(4, &other).await.unwrap(), 1);
    assert!(is_reset(&mut agent).await);
    let cut = bench.event("cut").await;
    assert_eq!(cut.reason.unwrap().as_str(), "binary_not_allowed");
    assert_eq!(cut.binary.as_deref(), Some("/usr/bin/python3.11"));
    // Nobody asked whose this one is: no rule with `binaries` keeps it.
    let (bench, server, asked) = unread(&open, python()).await;
    let mut agent = bench.connect("db.test", 5432).await;
    let _accepted = server.accept().await.unwrap();
    assert!(asked.lock().unwrap().is_empty(), "only where it matters");
    assert_eq!(bench.apply(2, UNREAD).await.unwrap(), 1);
    assert!(is_reset(&mut agent).await);
}

/// Asks a proxy for a tunnel to `db.test:5432`: whoever connected to the proxy is who asks.
#[tokio::test]
async fn a_tunnel_asked_of_a_proxy_is_its_owners_too() {
    for (told, passes) in [(owner("/usr/bin/python3.11", true), true), (owner("/usr/bin/curl", true), false)]
    {
        let (bench, server, _) = unread(UNREAD, Some(told)).await;
        let mut agent = bench.connect("proxy.any", 3128).await;
        let ask = b"CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n\r\n";
        agent.write_all(ask).await.unwrap();
        let mut head = [0; 39];
        agent.read_exact(&mut head).await.unwrap();
        if passes {
            let (mut accepted, _) = server.accept().await.unwrap();
            accepted.write_all(b"x").await.unwrap();
            agent.read_exact(&mut [0]).await.unwrap();
            assert_eq!(bench.denials(), [""; 0]);
        } else {
            assert!(is_reset(&mut agent).await);
            assert_eq!(bench.denials(), ["binary_not_allowed"]);
        }
    }
}
