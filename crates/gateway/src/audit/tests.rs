//! Once and only once, whatever is killed when; and what is asked of the log.

use std::{fs, path::Path, sync::Arc};

use chiton_api::{
    http::AuditQuery,
    name::{SandboxId, SandboxName},
};
use chiton_audit::{Decision, Event, Layer, Sink, Spool};
use chiton_store::{Checkpoint, NewSandbox, Spec, Store};
use tempfile::TempDir;

use super::*;

/// A log that takes no line: what it stands for cannot grow. It lives as long as the descriptor.
pub(crate) fn unwritable(path: &Path) -> std::os::fd::OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::AsRawFd;
    let file = memfd_create("full", MemfdFlags::ALLOW_SEALING).unwrap();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    let shown = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::os::unix::fs::symlink(shown, path).unwrap();
    file
}

struct Sources {
    folder: TempDir,
    id: SandboxId,
    name: SandboxName,
}

impl Sources {
    fn new() -> Self {
        let id = SandboxId::try_from("01jdx0000000000000000000ab".to_owned()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), id, name: "demo".parse().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn emit(&self, file: &str, count: u16) {
        let open = fs::OpenOptions::new().create(true).read(true).append(true).open(self.path(file));
        let mut spool = Spool::resume(open.unwrap()).unwrap();
        for _ in 0..count {
            let mut event = Event::new(Layer::Network, "request");
            event.decision = Some(Decision::Deny);
            spool.append(&event).unwrap();
        }
    }

    fn open(&self, checkpoint: &Checkpoint) -> AuditLog {
        let log = AuditLog::open(&self.path("audit.jsonl"), checkpoint).unwrap();
        log.follow(&self.id, &self.name, self.folder.path());
        log
    }

    async fn store(&self) -> Store {
        let store = Store::open(&self.path("chiton.db")).await.unwrap();
        let spec = Spec {
            workspace: "/w".into(),
            home: "/h".into(),
            policy_file: None,
            argv: vec![],
            env: Default::default(),
            extra_read_only: vec![],
        };
        let new = NewSandbox {
            id: self.id.clone(),
            name: self.name.clone(),
            driver: chiton_api::name::DriverName::Native,
            spec,
            policy: String::new(),
            digest: String::new(),
            remove: false,
            created: jiff::Timestamp::now(),
        };
        let _ = store.create(new).await;
        store
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path("audit.jsonl")).unwrap().lines().map(str::to_owned).collect()
    }
}

fn sound(log: &AuditLog, events: u64) {
    let reply = verify(log).unwrap();
    assert_eq!((reply.events, reply.fault), (events, None));
}

#[tokio::test]
async fn a_checkpoint_that_was_never_kept_costs_nothing() {
    let sources = Sources::new();
    let store = sources.store().await;
    let log = sources.open(&Checkpoint::default());
    sources.emit("supervisor.events", 3);
    log.drain().unwrap();
    log.checkpoint(&store).await;
    sources.emit("proxy.events", 4);
    sources.emit("supervisor.events", 2);
    log.drain().unwrap();
    drop(log); // Killed before the checkpoint.
    sources.emit("proxy.events", 1);
    for checkpoint in [store.checkpoint().await.unwrap(), Checkpoint::default()] {
        let log = sources.open(&checkpoint);
        log.drain().unwrap();
        sound(&log, 10);
        drop(log);
    }
    assert_eq!(sources.lines().len(), 10);
}

#[tokio::test]
async fn half_a_line_waits_or_goes() {
    let sources = Sources::new();
    let log = sources.open(&Checkpoint::default());
    sources.emit("proxy.events", 2);
    let whole = fs::read(sources.path("proxy.events")).unwrap();
    fs::write(sources.path("proxy.events"), &whole[..whole.len() - 9]).unwrap();
    log.drain().unwrap();
    assert_eq!(sources.lines().len(), 1);
    fs::write(sources.path("proxy.events"), &whole).unwrap();
    log.drain().unwrap();
    sound(&log, 2);
    drop(log);
    let text = fs::read(sources.path("audit.jsonl")).unwrap();
    fs::write(sources.path("audit.jsonl"), &text[..text.len() - 7]).unwrap();
    let log = sources.open(&Checkpoint::default());
    log.drain().unwrap();
    sound(&log, 2);
}

#[test]
fn what_is_no_event_is_told_of_and_stops_nothing() {
    let sources = Sources::new();
    let log = sources.open(&Checkpoint::default());
    let garbage = [&b"not json\n\xff\xfe\n"[..], &[b'x'; 2 << 20], b"\n"].concat();
    fs::write(sources.path("supervisor.events"), garbage).unwrap();
    sources.emit("proxy.events", 1);
    log.drain().unwrap();
    let lines = sources.lines();
    assert!(lines.iter().filter(|line| line.contains("event_unreadable")).count() >= 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("\"request\"")));
    fs::write(sources.path("proxy.events"), "").unwrap();
    log.drain().unwrap();
    assert!(sources.lines().last().unwrap().contains("event_file_shortened"));
}

#[tokio::test]
async fn tampering_is_found() {
    let sources = Sources::new();
    let store = sources.store().await;
    let log = sources.open(&Checkpoint::default());
    sources.emit("proxy.events", 5);
    log.drain().unwrap();
    log.checkpoint(&store).await;
    let path = sources.path("audit.jsonl");
    let sound_text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = sound_text.lines().collect();
    let fault = |text: String| {
        fs::write(&path, text).unwrap();
        verify(&log).unwrap().fault
    };
    assert!(fault(sound_text.replacen("deny", "allow", 1)).unwrap().contains("changed"));
    assert!(fault([&lines[..2], &lines[3..]].concat().join("\n") + "\n").unwrap().contains("removed"));
    assert!(fault(lines[..4].join("\n") + "\n").unwrap().contains("removed"), "its end");
    assert_eq!(fault(sound_text.clone()), None);
    drop(log);
    // An end that was cut off while no gateway looked.
    fs::write(&path, lines[..3].join("\n") + "\n").unwrap();
    let log = sources.open(&store.checkpoint().await.unwrap());
    assert!(sources.lines().last().unwrap().contains("audit_log_shortened"));
    drop(log);
}

#[tokio::test]
async fn a_query_filters_limits_and_follows() {
    let sources = Sources::new();
    let log = Arc::new(sources.open(&Checkpoint::default()));
    log.record(&Event::new(Layer::Lifecycle, "create")).unwrap();
    sources.emit("proxy.events", 3);
    log.drain().unwrap();
    let found = async |query: AuditQuery| {
        let mut lines = search(Arc::clone(&log), Filter::try_from(&query).unwrap(), false);
        let mut count = 0;
        while let Some(line) = lines.recv().await {
            line.unwrap();
            count += 1;
        }
        count
    };
    assert_eq!(found(AuditQuery::default()).await, 4);
    let sandbox = Some("demo".to_owned());
    assert_eq!(found(AuditQuery { sandbox, limit: Some(2), ..AuditQuery::default() }).await, 2);
    assert_eq!(found(AuditQuery { layer: Some("lifecycle".into()), ..AuditQuery::default() }).await, 1);
    assert_eq!(found(AuditQuery { decision: Some("allow".into()), ..AuditQuery::default() }).await, 0);
    let since = Some(jiff::Timestamp::now());
    assert_eq!(found(AuditQuery { since, ..AuditQuery::default() }).await, 0);

    let mut following = search(Arc::clone(&log), Filter::default(), true);
    for _ in 0..4 {
        following.recv().await.unwrap().unwrap();
    }
    log.record(&Event::new(Layer::Policy, "apply")).unwrap();
    let line = following.recv().await.unwrap().unwrap();
    assert!(String::from_utf8(line.to_vec()).unwrap().contains("\"apply\""));
}

#[test]
fn a_full_disk_is_said_and_nothing_is_torn() {
    let sources = Sources::new();
    let _sealed = unwritable(&sources.path("audit.jsonl"));
    let log = AuditLog::open(Path::new(&sources.path("audit.jsonl")), &Checkpoint::default()).unwrap();
    let error = log.record(&Event::new(Layer::Lifecycle, "create")).unwrap_err();
    assert!(matches!(error, AuditError::Write(_)), "{error}");
    assert!(log.health().1.is_some());
}
