//! Rules with `binaries`, and a supervisor that is told what to say.

use std::{os::unix::net::UnixDatagram, path::PathBuf, thread};

use chiton_api::owner::{Answer, Asked, Owner, Question, Told};
use chiton_testkit::Router;

use super::*;

const POLICY: &str = "dynamic: {network: {http: [{host: api.test, binaries: [/usr/bin/python3, '~/bin/tool']}, \
                      {host: open.test}]}}";

fn owner(executable: &str, fixed: bool) -> Owner {
    let in_home = executable.strip_prefix("/home/u/").map(|below| PathBuf::from("~").join(below));
    Owner { executable: executable.into(), in_home, fixed }
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
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let asked = asked.lock().unwrap().clone();
    let owners = asked.iter().filter(|question| matches!(question, Question::Owner { .. })).count();
    assert_eq!((owners, asked.len()), (1, 2), "{asked:?}");
    let event = bench.event("request").await;
    assert_eq!(event.binary, None, "who asks for `open.test` is nobody's question");
    assert!(bench.events().iter().any(|event| event.binary.as_deref() == Some("/usr/bin/python3.11")));
}
