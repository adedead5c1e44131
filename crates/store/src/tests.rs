//! The state machine's arrows, names, revisions, and databases that are not ours.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

use chiton_api::{
    http::{Denials, Push, Reason, State},
    name::{DriverName, SandboxId},
};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{Checkpoint, Ended, NewSandbox, Source, SourceKind, Spec, Store, StoreError};

fn id(n: u8) -> SandboxId {
    SandboxId::try_from(format!("01jdx0000000000000000000{n:02}")).unwrap()
}

fn new(n: u8, name: &str) -> NewSandbox {
    NewSandbox {
        id: id(n),
        name: name.parse().unwrap(),
        driver: DriverName::Native,
        spec: Spec {
            workspace: "/w".into(),
            home: "/h".into(),
            policy_file: None,
            argv: vec!["true".into()],
            env: BTreeMap::from([("TOKEN".into(), "t0ken".into())]),
            image: None,
            extra_read_only: vec![],
        },
        policy: "{}".into(),
        digest: "sha256:1".into(),
        remove: false,
        created: Timestamp::from_microsecond(1_000 + i64::from(n)).unwrap(),
    }
}

async fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("chiton.db")).await.unwrap();
    (folder, store)
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[tokio::test]
async fn a_whole_life() {
    let (_folder, store) = store().await;
    let made = store.create(new(1, "demo")).await.unwrap();
    assert_eq!(store.find("demo").await.unwrap(), made);
    store.started(&id(1), NOW).await.unwrap();
    let running = store.find(id(1).as_str()).await.unwrap();
    assert_eq!(
        (running.state, running.started, running.digest.as_str()),
        (State::Running, Some(NOW), "sha256:1")
    );
    assert_eq!(store.revisions(&id(1)).await.unwrap()[0].push, Push::Enforced);
    store.stopping(&id(1)).await.unwrap();
    let denials = Denials { count: 2, layers: BTreeMap::from([("network".into(), 2)]) };
    let reason = Some(Reason("its time was over".into()));
    store.stopped(&id(1), &Ended { reason: reason.clone(), ..ended(143) }, &denials).await.unwrap();
    let stopped = store.find("demo").await.unwrap();
    assert_eq!((stopped.exit_code, stopped.denials, stopped.reason), (Some(143), denials, reason));
    store.restart(&id(1)).await.unwrap();
    store.failed(&id(1), &Reason("no".into()), NOW).await.unwrap();
    store.removed(&id(1)).await.unwrap();
    assert!(matches!(store.find("demo").await, Err(StoreError::NotFound(_))));
    let removed = store.find_also_removed("demo").await.unwrap();
    assert!(removed.spec.env.is_empty(), "values are forgotten");
    assert!(store.list().await.unwrap().is_empty());
}

fn ended(code: u8) -> Ended {
    Ended { code, reason: None, at: NOW }
}

#[tokio::test]
async fn an_arrow_starts_where_it_starts() {
    let (_folder, store) = store().await;
    let none = Denials::default();
    assert!(matches!(store.started(&id(1), NOW).await, Err(StoreError::NotFound(_))));
    store.create(new(1, "demo")).await.unwrap();
    assert!(matches!(
        store.stopping(&id(1)).await,
        Err(StoreError::WrongState { state: State::Creating, .. })
    ));
    assert!(matches!(store.stopped(&id(1), &ended(0), &none).await, Err(StoreError::WrongState { .. })));
    assert!(matches!(store.restart(&id(1)).await, Err(StoreError::WrongState { .. })));
    assert!(matches!(store.removed(&id(1)).await, Err(StoreError::WrongState { .. })));
    store.started(&id(1), NOW).await.unwrap();
    assert!(matches!(store.started(&id(1), NOW).await, Err(StoreError::WrongState { .. })));
    store.stopped(&id(1), &ended(0), &none).await.unwrap();
    assert!(matches!(
        store.failed(&id(1), &Reason("x".into()), NOW).await,
        Err(StoreError::WrongState { .. })
    ));
    store.restart(&id(1)).await.unwrap();
    assert!(matches!(store.restart(&id(1)).await, Err(StoreError::WrongState { .. })), "only one gets it");
}

#[tokio::test]
async fn a_name_is_free_again_once_removed() {
    let (_folder, store) = store().await;
    store.create(new(1, "demo")).await.unwrap();
    assert!(matches!(store.create(new(2, "demo")).await, Err(StoreError::NameInUse(_))));
    store.failed(&id(1), &Reason("no".into()), NOW).await.unwrap();
    assert!(matches!(store.create(new(2, "demo")).await, Err(StoreError::NameInUse(_))));
    store.removed(&id(1)).await.unwrap();
    store.create(new(2, "demo")).await.unwrap();
    assert_eq!(store.find_also_removed("demo").await.unwrap().id, id(2));
}

#[tokio::test]
async fn revisions_grow_and_a_failed_one_changes_nothing() {
    let (_folder, store) = store().await;
    store.create(new(1, "demo")).await.unwrap();
    store.started(&id(1), NOW).await.unwrap();
    assert_eq!(store.add_revision(&id(1), "a", "sha256:a", NOW).await.unwrap(), 2);
    store.push_failed(&id(1), 2).await.unwrap();
    assert_eq!(store.find("demo").await.unwrap().revision, 1);
    assert_eq!(store.add_revision(&id(1), "b", "sha256:b", NOW).await.unwrap(), 3);
    store.enforced(&id(1), 3).await.unwrap();
    let record = store.find("demo").await.unwrap();
    assert_eq!((record.revision, record.digest.as_str()), (3, "sha256:b"));
    let pushes: Vec<Push> = store.revisions(&id(1)).await.unwrap().iter().map(|r| r.push).collect();
    assert_eq!(pushes, [Push::Enforced, Push::Failed, Push::Enforced]);
}

#[tokio::test]
async fn a_checkpoint_comes_back() {
    let (folder, store) = store().await;
    assert_eq!(store.checkpoint().await.unwrap(), Checkpoint::default());
    store.create(new(1, "demo")).await.unwrap();
    let source = Source { sandbox: id(1), kind: SourceKind::Proxy, position: 77 };
    let kept = Checkpoint { length: 9, count: 1, hash: "ab".into(), sources: vec![source] };
    store.set_checkpoint(&kept).await.unwrap();
    drop(store);
    let again = Store::open(&folder.path().join("chiton.db")).await.unwrap();
    assert_eq!(again.checkpoint().await.unwrap(), kept);
    assert_eq!(again.find("demo").await.unwrap().state, State::Creating);
}

#[tokio::test]
async fn the_file_is_closed_to_others() {
    let (folder, _store) = store().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o077, 0, "{}", file.path().display());
    }
}

#[tokio::test]
async fn a_newer_or_damaged_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chiton.db");
    let store = Store::open(&path).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut *store.connection().await).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(Store::open(&path).await, Err(StoreError::Newer { found: 99, .. })));

    std::fs::write(&path, "this is not a database, but long enough to be taken for one".repeat(100)).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is"));
}

#[tokio::test]
async fn hostile_texts_are_only_texts() {
    let (_folder, store) = store().await;
    store.create(new(1, "demo")).await.unwrap();
    for text in ["' OR 1=1 --", "demo'; DROP TABLE sandboxes; --", "", "\0"] {
        assert!(matches!(store.find(text).await, Err(StoreError::NotFound(_))), "{text}");
    }
    assert!(store.find("demo").await.is_ok());
}

#[tokio::test]
async fn a_full_disk_is_over_when_there_is_room_again() {
    let (folder, store) = store().await;
    store.create(new(1, "demo")).await.unwrap();
    let limit = |pages: &str| sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    let limited = |pages: &'static str| {
        let store = &store;
        async move { sqlx::raw_sql(limit(pages)).execute(&mut *store.connection().await).await.unwrap() }
    };
    let moment = Timestamp::from_microsecond(1).unwrap();
    // As many as there are: SQLite answers as on a full disk.
    limited("1").await;
    let source = |position| Source { sandbox: id(1), kind: SourceKind::Proxy, position };
    let large = Checkpoint { hash: "h".repeat(1 << 20), sources: vec![source(1)], ..Checkpoint::default() };
    for _ in 0..3 {
        let full = store.set_checkpoint(&large).await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        assert!(store.add_revision(&id(1), &"#".repeat(1 << 20), "d", moment).await.is_err());
    }
    limited("1000000").await;
    let kept = Checkpoint { length: 7, ..Checkpoint::default() };
    store.set_checkpoint(&kept).await.unwrap();
    let revision = store.add_revision(&id(1), "version: 1", "d", moment).await.unwrap();
    store.enforced(&id(1), revision).await.unwrap();
    // What others see is what was committed.
    let other = Store::open(&folder.path().join("chiton.db")).await.unwrap();
    assert_eq!(other.checkpoint().await.unwrap(), kept);
    assert_eq!(other.find("demo").await.unwrap().revision, revision);
}
