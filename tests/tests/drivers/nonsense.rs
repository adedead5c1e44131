//! An engine that answers nonsense: the real one, behind somebody who answers some requests in its place.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use chiton_testkit::{
    Chiton,
    engines::{Engine, Kind},
};

use crate::{know_at, nothing_left, refused, run, shared};

/// What is answered in the engine's place; nothing is the end of the connection.
const NONSENSE: [&str; 6] = [
    "",
    "what is it?\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n[[7]",
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 13\r\n\r\nfirst\nsecond\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"Id\":",
];

/// What is answered to requests with this part in their first line; and whether the engine does first what it is asked.
type Answer = (&'static str, &'static str, bool);
type Rule = Arc<Mutex<Option<Answer>>>;

/// Somebody between an engine and who asks it.
struct Between {
    folder: tempfile::TempDir,
    rule: Rule,
}

impl Between {
    fn start(engine: &Engine) -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let between = Self { folder, rule: Rule::default() };
        let listener = UnixListener::bind(between.socket()).expect("a socket");
        fs::set_permissions(between.socket(), fs::Permissions::from_mode(0o666)).expect("mode");
        let (engine, rule) = (engine.socket(), Arc::clone(&between.rule));
        thread::spawn(move || {
            for link in listener.incoming().map_while(Result::ok) {
                let (engine, rule) = (engine.clone(), Arc::clone(&rule));
                thread::spawn(move || one_request(link, &engine, &rule));
            }
        });
        between
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn answers(&self, rule: Option<Answer>) {
        *self.rule.lock().expect("the rule") = rule;
    }
}

fn one_request(mut link: UnixStream, engine: &Path, rule: &Rule) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        link.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let first = head.lines().next().unwrap_or_default();
    let rule = *rule.lock().expect("the rule");
    let rule = rule.filter(|(part, ..)| first.contains(part));
    if let Some((_, answer, false)) = rule {
        link.write_all(answer.as_bytes())?;
        return link.shutdown(Shutdown::Write);
    }
    // One request each, so that every one is looked at.
    let mut real = UnixStream::connect(engine)?;
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let (first, rest) = (first.to_owned(), kept.skip(1).collect::<Vec<_>>().join("\r\n"));
    real.write_all(format!("{first}\r\nConnection: close\r\n{}\r\n\r\n", rest.trim_end()).as_bytes())?;
    let (mut from, mut to) = (link.try_clone()?, real.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write)));
    match rule {
        Some((_, answer, _)) => {
            io::copy(&mut real, &mut io::sink())?;
            link.write_all(answer.as_bytes())?;
        }
        None => drop(io::copy(&mut real, &mut link)?),
    }
    link.shutdown(Shutdown::Both)
}

/// Whichever answer it is, and whatever: one line, nothing half-made, and the next one is as ever.
#[test]
fn an_engine_that_answers_nonsense() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let engine = shared(kind);
        let between = Between::start(engine);
        let mut chiton = Chiton::new(kind.user());
        know_at(&mut chiton, engine, &between.socket());
        let driver = [engine.driver()];
        for (part, done) in [
            ("/version", false),
            ("/images/busybox/json", false),
            ("/containers/create", false),
            ("/containers/create", true),
            ("/start", false),
            ("/start", true),
        ] {
            for answer in NONSENSE {
                between.answers(Some((part, answer, done)));
                let outcome = run(&chiton, engine, "busybox", &["-n", "bad"], &["true"]);
                // An engine that did it, and says so in whatever words, has done it.
                if outcome.status == 0
                    && (part, done) == ("/start", true)
                    && answer.starts_with("HTTP/1.1 200")
                {
                    let _ = chiton.run(&["rm", "bad"]).expect_success();
                } else {
                    refused(&outcome, &driver);
                    assert!(outcome.stderr.lines().count() <= 2, "{outcome:?}");
                }
                between.answers(None);
                nothing_left(&chiton, engine);
                assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "", "{part} {answer:?}");
            }
            let outcome = run(&chiton, engine, "busybox", &["--rm"], &["echo", "well"]);
            assert_eq!(outcome.stdout, "well\n", "{kind:?} {part} {outcome:?}");
        }
    }
}
