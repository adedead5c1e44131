//! What a new gateway makes of what an old one left: the store says what was meant, the drivers say what runs.
//!
//! | record | runs | becomes |
//! |---|---|---|
//! | `creating` | or not | destroyed, then `failed`; one that never ran before is removed |
//! | `running` | yes | adopted |
//! | `running`, `stopping` | no | what `exit.json` says, else `failed` |
//! | `stopping` | yes | the stop goes on |
//! | `stopped`, `failed` | or not | destroyed; with `--rm` removed |
//! | `removed`, or none | or not | destroyed, and its files deleted |

use std::{collections::HashSet, fs, sync::Arc, time::Duration};

use chiton_api::{
    control::Exit,
    http::{Push, Reason, State},
    name::SandboxId,
};
use chiton_driver::SandboxHandle;
use chiton_store::Record;

use super::{
    end::{End, remove, settle, settle_failed, sweep},
    live::Live,
    make::exit_file,
    network::Network,
    task::Task,
};
use crate::{
    error::GatewayError,
    gateway::{Gateway, Told, handle},
};

/// What a program gets whose stop an old gateway had begun.
const GRACE: Duration = Duration::from_secs(10);

/// Makes store and drivers agree. What cannot be mended is logged, and does not keep the gateway from serving.
pub(crate) async fn reconcile(gateway: &Arc<Gateway>) -> Result<(), GatewayError> {
    let records = gateway.store.list().await?;
    for record in &records {
        // Before anything is chained: what the log holds past its checkpoint must be told from what it lacks.
        gateway.audit.follow(&record.id, &record.name, &gateway.folder(&record.id));
    }
    let leftovers = leftover_folders(gateway, &records).await;
    if let Err(error) = gateway.chain_now().await {
        tracing::error!(%error, "events wait in their files");
    }
    let mut running = HashSet::new();
    for driver in &gateway.drivers {
        match driver.list().await {
            Ok(handles) => running.extend(handles),
            Err(error) => tracing::error!(%error, driver = %driver.name(), "what runs is not known"),
        }
    }
    for record in records {
        let runs = running.remove(&handle(&record));
        let name = record.name.clone();
        if let Err(error) = reconcile_one(gateway, record, runs).await {
            tracing::error!(%error, sandbox = %name, "a sandbox was not reconciled");
        }
    }
    for nobodys in running {
        destroy(gateway, &nobodys).await;
    }
    for record in leftovers {
        destroy(gateway, &handle(&record)).await;
        sweep(gateway, &record).await?;
    }
    // A gateway that was killed between a sandbox's files and this.
    gateway.audit.forget(|id| matches!(gateway.folder(id).try_exists(), Ok(false)));
    gateway.audit.checkpoint(&gateway.store).await;
    Ok(())
}

async fn reconcile_one(gateway: &Arc<Gateway>, record: Record, runs: bool) -> Result<(), GatewayError> {
    match (record.state, runs) {
        (State::Creating, _) => {
            destroy(gateway, &handle(&record)).await;
            let reason = Reason("the gateway ended while the sandbox was being made".into());
            gateway.record_anyway(Told::of(&record, "start").denied("start_failed"));
            settle_failed(gateway, &record, &reason).await?;
            if record.started.is_none() { remove(gateway, &record).await } else { Ok(()) }
        }
        (State::Running, true) => adopt(gateway, record, None).await,
        (State::Stopping, true) => adopt(gateway, record, Some(GRACE)).await,
        (State::Running | State::Stopping, false) => {
            destroy(gateway, &handle(&record)).await;
            settle(gateway, &record, written_end(gateway, &record.id)).await?;
            if record.remove { remove(gateway, &record).await } else { Ok(()) }
        }
        (State::Stopped | State::Failed, _) => {
            if runs {
                destroy(gateway, &handle(&record)).await;
            }
            gateway.audit.finish(&record.id);
            if record.remove { remove(gateway, &record).await } else { Ok(()) }
        }
        // Not listed by the store.
        (State::Removed, _) => Ok(()),
    }
}

/// Goes on with a sandbox that an old gateway started.
async fn adopt(
    gateway: &Arc<Gateway>,
    mut record: Record,
    stop: Option<Duration>,
) -> Result<(), GatewayError> {
    let driver = gateway.driver(record.driver)?;
    if let Some(started) = record.started {
        gateway.audit.recount(&record.id, started);
    }
    gateway.record_anyway(Told::of(&record, "adopt").allowed());
    let (live, commands) = Live::new(handle(&record), driver);
    gateway.set_live(&record.id, Arc::clone(&live));
    let mut network = Network::open(&live).await;
    settle_pending(gateway, &mut record, &mut network).await?;
    if let Some(grace) = stop {
        let live = Arc::clone(&live);
        tokio::spawn(async move { live.stop(grace).await });
    }
    tokio::spawn(Task::new(Arc::clone(gateway), record, live, network).drive(commands));
    Ok(())
}

/// A revision whose push an old gateway did not live to see answered: its proxy knows.
async fn settle_pending(
    gateway: &Gateway,
    record: &mut Record,
    network: &mut Network,
) -> Result<(), GatewayError> {
    let revisions = gateway.store.revisions(&record.id).await?;
    let enforced = network.status().await.and_then(|status| status.revision);
    for pending in revisions.iter().filter(|revision| revision.push == Push::Pending) {
        let told = Told::of(record, "enforced").policy(pending.revision);
        if enforced == Some(pending.revision) {
            gateway.store.enforced(&record.id, pending.revision).await?;
            gateway.record_anyway(told.allowed());
            record.revision = pending.revision;
        } else {
            gateway.store.push_failed(&record.id, pending.revision).await?;
            gateway.record_anyway(told.denied("not_enforced"));
        }
    }
    Ok(())
}

/// How a sandbox ended that ended while no gateway looked.
fn written_end(gateway: &Gateway, id: &SandboxId) -> End {
    let written = chiton_sys::file::read_short(&exit_file(&gateway.folder(id)), Exit::LONGEST).ok();
    match written.and_then(|bytes| serde_json::from_slice::<Exit>(&bytes).ok()) {
        Some(exit) => End::Exited(exit),
        None => End::Lost("it did not write how the program ended".into()),
    }
}

/// Removed sandboxes whose files are still there. Files of a sandbox that the store does not know go at once.
async fn leftover_folders(gateway: &Gateway, records: &[Record]) -> Vec<Record> {
    let mut leftovers = Vec::new();
    for entry in fs::read_dir(gateway.paths.state.join("sandboxes")).into_iter().flatten().flatten() {
        let Ok(id) = SandboxId::try_from(entry.file_name().to_string_lossy().into_owned()) else { continue };
        if records.iter().any(|record| record.id == id) {
            continue;
        }
        match gateway.store.find(id.as_str()).await {
            Ok(record) => {
                gateway.audit.follow(&record.id, &record.name, &entry.path());
                leftovers.push(record);
            }
            Err(chiton_store::StoreError::NotFound(_)) => {
                tracing::warn!(sandbox = %id, "deleting files of a sandbox that nobody knows");
                let _ = fs::remove_dir_all(entry.path());
            }
            Err(error) => tracing::error!(%error, sandbox = %id, "whose files these are is not known"),
        }
    }
    leftovers
}

async fn destroy(gateway: &Gateway, handle: &SandboxHandle) {
    let Ok(driver) = gateway.driver(handle.driver) else { return };
    if let Err(error) = driver.destroy_sandbox(handle).await {
        tracing::error!(%error, sandbox = %handle.id, "something of a sandbox is left");
    }
}
