//! How a sandbox ends, and how it goes.

use std::{fs, io::ErrorKind, sync::Arc, time::Duration};

use chiton_api::http::{Denials, Reason, State};
use chiton_driver::{DriverError, Exit};
use chiton_store::{Ended, Record, StoreError};
use jiff::Timestamp;
use tokio::{task::spawn_blocking, time::sleep};

use super::{limits::Limits, live::Live};
use crate::{
    error::{GatewayError, one_line},
    gateway::{Gateway, Told, handle},
};

/// Between two tries to write down how a sandbox ended.
const AGAIN: Duration = Duration::from_secs(1);

/// How a sandbox came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// Its program ended like this.
    Exited(Exit),
    /// Its supervisor is gone without saying how the program ended.
    Lost(String),
}

/// Ends a sandbox that runs, the intent first.
pub(super) async fn stop(
    gateway: &Gateway,
    record: &Record,
    live: &Live,
    grace: Duration,
) -> Result<Exit, DriverError> {
    match gateway.store.stopping(&record.id).await {
        // A gateway that was killed had begun it.
        Ok(()) | Err(StoreError::WrongState { state: State::Stopping, .. }) => {}
        Err(error) => tracing::error!(%error, sandbox = %record.name, "a stop goes on without its record"),
    }
    gateway.record_anyway(Told::of(record, "stop").allowed());
    live.driver.stop(&live.handle, grace).await
}

/// Removes what is left of a run, chains its last events, and writes down how it ended.
pub(super) async fn finish(gateway: &Arc<Gateway>, record: &Record, live: &Live, end: End) {
    live.finishing();
    if let Err(error) = live.driver.destroy_sandbox(&live.handle).await {
        tracing::error!(%error, sandbox = %record.name, "something of a sandbox that ended is left");
    }
    let settled = settled(gateway, record, end).await;
    if let Err(error) = until_kept(record, || keep(gateway, record, &settled)).await {
        tracing::error!(%error, sandbox = %record.name, "how a sandbox ended was not written down");
    }
    if record.remove
        && let Err(error) = remove(gateway, record).await
    {
        tracing::error!(%error, sandbox = %record.name, "a sandbox was not removed");
    }
}

/// What the record of a sandbox that ended is to say.
enum Settled {
    Stopped(Ended, Denials),
    Failed(Reason, Timestamp),
}

/// Writes down how a sandbox ended, once nothing of it runs any more.
pub(super) async fn settle(gateway: &Gateway, record: &Record, end: End) -> Result<(), GatewayError> {
    let settled = settled(gateway, record, end).await;
    keep(gateway, record, &settled).await
}

/// Chains the last events of a sandbox, and tells how it ended.
async fn settled(gateway: &Gateway, record: &Record, end: End) -> Settled {
    let denials = last_events(gateway, record).await;
    let at = Timestamp::now();
    match end {
        End::Exited(exit) => {
            let reason = (!exit.limits.is_none()).then(|| {
                let mut limits = Limits::of(gateway, record);
                limits.tell(gateway, record, exit.limits);
                limits.reason(exit)
            });
            gateway.record_anyway(Told::of(record, "exit").allowed());
            Settled::Stopped(Ended { code: exit.code, reason: reason.flatten(), at }, denials)
        }
        End::Lost(why) => {
            gateway.record_anyway(Told::of(record, "exit").denied("supervisor_lost"));
            Settled::Failed(Reason(one_line(&format!("its supervisor vanished: {why}"))), at)
        }
    }
}

async fn keep(gateway: &Gateway, record: &Record, settled: &Settled) -> Result<(), GatewayError> {
    match settled {
        Settled::Stopped(ended, denials) => gateway.store.stopped(&record.id, ended, denials).await?,
        Settled::Failed(reason, at) => gateway.store.failed(&record.id, reason, *at).await?,
    }
    // One that goes at once is removed next, and that keeps it.
    if !record.remove {
        gateway.audit.checkpoint(&gateway.store).await;
    }
    Ok(())
}

/// Has an end written down, again and again as long as the disk does not take it: a sandbox that its record calls running
/// when it is not could neither be started nor removed.
pub(super) async fn until_kept<F: Future<Output = Result<(), GatewayError>>>(
    record: &Record,
    write: impl Fn() -> F,
) -> Result<(), GatewayError> {
    let mut told = false;
    loop {
        match write().await {
            Err(error @ GatewayError::Store(StoreError::Database(_))) => {
                if !std::mem::replace(&mut told, true) {
                    let why = "how a sandbox ended waits to be written down";
                    tracing::error!(%error, sandbox = %record.name, "{why}");
                }
                sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

async fn last_events(gateway: &Gateway, record: &Record) -> Denials {
    let (audit, id) = (Arc::clone(&gateway.audit), record.id.clone());
    spawn_blocking(move || audit.finish(&id)).await.unwrap_or_default()
}

/// Writes down that a sandbox failed, once nothing of it runs any more.
pub(super) async fn settle_failed(
    gateway: &Gateway,
    record: &Record,
    reason: &Reason,
) -> Result<(), GatewayError> {
    last_events(gateway, record).await;
    gateway.store.failed(&record.id, reason, Timestamp::now()).await?;
    gateway.audit.checkpoint(&gateway.store).await;
    Ok(())
}

/// Removes a sandbox that has ended: the record first, then its files, once their events are chained.
pub(crate) async fn remove(gateway: &Gateway, record: &Record) -> Result<(), GatewayError> {
    gateway.store.removed(&record.id).await?;
    gateway.record_anyway(Told::of(record, "remove").allowed());
    sweep(gateway, record).await
}

/// Deletes the files of a sandbox that is removed.
pub(super) async fn sweep(gateway: &Gateway, record: &Record) -> Result<(), GatewayError> {
    let (audit, id) = (Arc::clone(&gateway.audit), record.id.clone());
    let chained = spawn_blocking(move || audit.drain_of(&id).is_ok()).await.unwrap_or(false);
    if !chained || !gateway.audit.checkpoint(&gateway.store).await {
        let why = "its events cannot be chained, so its files stay until a gateway that starts can";
        tracing::error!(sandbox = %record.name, "{why}");
        return Ok(());
    }
    match fs::remove_dir_all(gateway.folder(&record.id)) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            return Err(GatewayError::Io { doing: "cannot delete the sandbox's files", source });
        }
        _ => {}
    }
    gateway.audit.forget(|id| *id == record.id);
    Ok(())
}

/// Ends whatever runs of a sandbox, at once, and removes it. One that is being made is waited for.
pub(crate) async fn remove_by_force(gateway: &Gateway, record: &Record) -> Result<(), GatewayError> {
    if let Ok(live) = gateway.running(record).await {
        live.force();
        // The task sees its supervisor go, and writes the end down.
        live.driver.destroy_sandbox(&handle(record)).await?;
        live.until_ended().await;
    }
    let now = gateway.store.find_also_removed(record.id.as_str()).await?;
    if now.state == State::Removed { Ok(()) } else { remove(gateway, &now).await }
}
