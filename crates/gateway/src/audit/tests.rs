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
            image: None,
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
    let log = Arc::new(sources.open(&Checkpoint::default()));
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

/// Its supervisor may be anybody's by then.
#[test]
fn an_event_file_takes_neither_time_nor_room_of_the_others() {
    let sources = Sources::new();
    let log = sources.open(&Checkpoint::default());
    let path = sources.path("supervisor.events");
    fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
    sources.emit("proxy.events", 1);
    log.drain().unwrap();
    let lines = sources.lines();
    assert!(lines.len() <= 1 + 2, "{} lines for a megabyte of none", lines.len());
    // A hole that no disk could hold: read, it would take hours.
    fs::File::options().write(true).open(&path).unwrap().set_len(8 << 40).unwrap();
    sources.emit("proxy.events", 1);
    log.drain().unwrap();
    let more = sources.lines();
    assert_eq!(more.iter().skip(lines.len()).filter(|line| line.contains("event_unreadable")).count(), 1);
    assert_eq!(more.len(), lines.len() + 2);
    log.recount(&sources.id, jiff::Timestamp::UNIX_EPOCH);
    assert!(log.denials(&sources.id).unwrap().count > 2);
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
    let log = Arc::new(sources.open(&Checkpoint::default()));
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

/// Puts a folder where an event file was, so that it cannot be read; the file waits beside it.
fn unreadable(path: &Path) {
    fs::rename(path, path.with_extension("aside")).unwrap();
    fs::create_dir(path).unwrap();
}

fn readable(path: &Path) {
    fs::remove_dir(path).unwrap();
    fs::rename(path.with_extension("aside"), path).unwrap();
}

#[tokio::test]
async fn an_event_file_that_cannot_be_read_stops_no_other_and_waits() {
    let sources = Sources::new();
    let store = sources.store().await;
    let log = Arc::new(sources.open(&Checkpoint::default()));
    let supervisors = sources.path("supervisor.events");
    sources.emit("supervisor.events", 2);
    log.drain().unwrap();
    sources.emit("supervisor.events", 1);
    sources.emit("proxy.events", 4);
    unreadable(&supervisors);
    assert!(matches!(log.drain().unwrap_err(), AuditError::Read(_)));
    assert_eq!(sources.lines().len(), 6);
    // The sandbox ends and is removed meanwhile: what is chained is not forgotten, what waits is not left.
    log.finish(&sources.id);
    assert!(log.drain_of(&sources.id).is_err());
    assert!(log.checkpoint(&store).await);
    readable(&supervisors);
    log.drain().unwrap();
    sound(&log, 7);
    drop(log);
    let log = sources.open(&store.checkpoint().await.unwrap());
    log.drain().unwrap();
    sound(&log, 7);
}

#[tokio::test]
async fn what_a_sandbox_that_ended_left_waiting_is_chained_before_its_files_go() {
    let sources = Sources::new();
    let log = sources.open(&Checkpoint::default());
    sources.emit("proxy.events", 1);
    log.finish(&sources.id);
    sources.emit("proxy.events", 2);
    log.drain_of(&sources.id).unwrap();
    sound(&log, 3);
    log.forget(|id| *id == sources.id);
    assert!(log.files().is_empty());
}

#[tokio::test]
async fn a_log_that_lost_its_end_takes_it_from_the_event_files_once() {
    let sources = Sources::new();
    let store = sources.store().await;
    let log = Arc::new(sources.open(&Checkpoint::default()));
    sources.emit("supervisor.events", 2);
    sources.emit("proxy.events", 3);
    log.drain().unwrap();
    assert!(log.checkpoint(&store).await);
    drop(log);
    // As after a power cut of a disk that said that it had written.
    let kept = sources.lines()[..2].join("\n") + "\n";
    fs::write(sources.path("audit.jsonl"), kept).unwrap();
    let log = sources.open(&store.checkpoint().await.unwrap());
    log.drain().unwrap();
    let lines = sources.lines();
    let ids = lines.iter().map(|line| Event::parse(line).unwrap().event.id);
    assert_eq!(ids.collect::<std::collections::HashSet<_>>().len(), lines.len(), "none twice");
    assert_eq!(lines.iter().filter(|line| line.contains("\"request\"")).count(), 5, "none lost");
    assert!(lines.iter().any(|line| line.contains("audit_log_shortened")));
}

#[tokio::test]
async fn what_a_checkpoint_counts_is_on_the_disk() {
    let sources = Sources::new();
    let store = sources.store().await;
    let log = Arc::new(sources.open(&Checkpoint::default()));
    log.record(&Event::new(Layer::Lifecycle, "create")).unwrap();
    assert!(log.is_unsynced());
    assert!(log.checkpoint(&store).await);
    assert!(!log.is_unsynced());
    assert_eq!(store.checkpoint().await.unwrap().count, 1);
}

#[tokio::test]
async fn a_fault_of_the_thread_that_chains_is_seen_stops_what_is_new_and_passes() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let sources = Sources::new();
    let store = Arc::new(sources.store().await);
    let log = Arc::new(sources.open(&Checkpoint::default()));
    let broken = Arc::new(AtomicBool::new(true));
    let (chained, breaks) = (Arc::clone(&log), Arc::clone(&broken));
    let turn = Arc::new(move || {
        assert!(!breaks.load(Relaxed), "as a fault of ours would");
        chained.drain().err().map(|error| error.to_string())
    });
    tokio::spawn(super::task::keep(Arc::clone(&log), store, turn));
    until(|| log.health().1.is_some()).await;
    assert!(matches!(log.may_begin(), Err(AuditError::ChainerEnded)));
    sources.emit("proxy.events", 2);
    broken.store(false, Relaxed);
    until(|| sources.lines().len() == 2 && log.health().1.is_none()).await;
    log.may_begin().unwrap();
}

async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it did not become so");
}
