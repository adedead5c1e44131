//! From a request to a running program: a new sandbox, or one that ended.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chiton_api::{
    http::{CreateRequest, Reason, Session},
    name::{SandboxId, SandboxName},
};
use chiton_driver::Link;
use chiton_store::{NewSandbox, Record, StoreError};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    check::{Checked, check, check_record, resolved, resolved_upstream, tell},
    end::{settle_failed, sweep, until_kept},
    live::Live,
    make::{Making, make, unmake},
    network::{Network, current_text},
    task::Task,
    upstream::credentials_of,
};
use crate::{
    document::Document,
    error::{GatewayError, one_line},
    gateway::{Gateway, Told, handle},
    names::made_up,
};

/// So many made-up names are tried; from the second on they are all but never taken.
const ATTEMPTS: u32 = 8;

/// A program that runs, and its session where one was asked for.
pub(crate) struct Started {
    pub(crate) record: Record,
    pub(crate) live: Arc<Live>,
    pub(crate) link: Link,
}

/// Makes a sandbox and starts its program.
pub(crate) async fn create(gateway: &Arc<Gateway>, request: CreateRequest) -> Result<Started, GatewayError> {
    let checked = check(gateway, &request)?;
    let credentials =
        gateway.secrets.resolve_all(&chiton_policy::secret_refs(&checked.document.policy)).await?;
    let upstream = checked.upstream.resolve(&gateway.secrets).await?;
    let record = claim(gateway, &request, &checked).await?;
    let Checked { document, driver, session, .. } = checked;
    let told = tell(gateway, &record, &credentials);
    if let Err(error) = told.and_then(|()| tell(gateway, &record, credentials_of(&upstream))) {
        undo(gateway, &record, &error, Undo::Remove).await;
        return Err(error);
    }
    let base = document.clone();
    let making = Making { record, driver, base, revision: document, credentials, upstream, session };
    start(gateway, making, Undo::Remove).await
}

/// Starts the program of a sandbox that has ended, all of it made again.
pub(crate) async fn restart(
    gateway: &Arc<Gateway>,
    record: &Record,
    session: Session,
) -> Result<Started, GatewayError> {
    let driver = gateway.driver(record.driver)?;
    driver.expect_sandbox();
    let base = Document::parse(&record.policy)?;
    let revision = Document::parse(&current_text(gateway, record).await?)?;
    let upstream = check_record(gateway, record, &base)?;
    let credentials = resolved(gateway, record, &revision).await?;
    let upstream = resolved_upstream(gateway, record, &upstream).await?;
    gateway.store.restart(&record.id).await?;
    let record = record.clone();
    let making = Making { record, driver, base, revision, credentials, upstream, session };
    start(gateway, making, Undo::Fail).await
}

/// What becomes of a sandbox whose program did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// It never ran: nothing is left behind.
    Remove,
    /// It has run before: it failed.
    Fail,
}

/// The sandbox's own task makes it, and drives it from then on: it goes on when the asker is gone.
async fn start(gateway: &Arc<Gateway>, making: Making, undo_by: Undo) -> Result<Started, GatewayError> {
    let (reply, answer) = oneshot::channel();
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        let (record, driver) = (making.record.clone(), Arc::clone(&making.driver));
        let link = match make(&gateway, making).await {
            Ok(link) => link,
            Err(error) => {
                unmake(&*driver, &record).await;
                undo(&gateway, &record, &error, undo_by).await;
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (live, commands) = Live::new(handle(&record), driver);
        gateway.set_live(&record.id, Arc::clone(&live));
        let _ = reply.send(Ok(Started { record: record.clone(), live: Arc::clone(&live), link }));
        let network = Network::open(&live).await;
        Task::new(gateway, record, live, network).drive(commands).await;
    });
    answer.await.map_err(|_| GatewayError::Lost)?
}

/// Writes down the intent. The name is the sandbox's from here on.
async fn claim(
    gateway: &Arc<Gateway>,
    request: &CreateRequest,
    checked: &Checked,
) -> Result<Record, GatewayError> {
    let mut attempt = 0;
    loop {
        let made_up = || made_up(attempt).ok_or(GatewayError::Lost);
        let name = request.name.clone().map_or_else(made_up, Ok)?;
        let new = new_sandbox(name, request, checked)?;
        match gateway.store.create(new).await {
            Ok(record) => return Ok(record),
            Err(StoreError::NameInUse(name)) if attempt < ATTEMPTS => {
                attempt += 1;
                // Its holder may have ended, as its user was told, and be about to go.
                let settled = match gateway.store.find(name.as_str()).await {
                    Ok(holder) => match gateway.live(&holder.id) {
                        Some(live) => live.settle().await,
                        None => false,
                    },
                    Err(_) => true,
                };
                if request.name.is_some() && !settled {
                    return Err(StoreError::NameInUse(name).into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn new_sandbox(
    name: SandboxName,
    request: &CreateRequest,
    checked: &Checked,
) -> Result<NewSandbox, GatewayError> {
    Ok(NewSandbox {
        id: SandboxId::try_from(ulid::Ulid::generate().to_string().to_lowercase())?,
        name,
        driver: checked.driver.name(),
        spec: checked.spec.clone(),
        policy: checked.document.text.to_string(),
        digest: checked.document.digest.clone(),
        remove: request.remove,
        created: Timestamp::now(),
    })
}

/// A sandbox that never ran goes without a trace but in the audit log. Where the disk does not take that now, it is
/// tried again, and its asker is not kept waiting.
async fn undo(gateway: &Arc<Gateway>, record: &Record, error: &GatewayError, undo_by: Undo) {
    gateway.secrets.forget_unheld();
    gateway.record_anyway(Told::of(record, "start").denied("start_failed"));
    let reason = Reason(one_line(&error.to_string()));
    let failed = AtomicBool::new(false);
    let Err(error) = undone(gateway, (record, &reason), undo_by, &failed).await else { return };
    tracing::error!(%error, sandbox = %record.name, "something of a sandbox that did not start is left");
    if undo_by == Undo::Remove {
        let _ = fs::remove_dir_all(gateway.folder(&record.id));
    }
    let (gateway, record) = (Arc::clone(gateway), record.clone());
    tokio::spawn(async move {
        let again = || undone(&gateway, (&record, &reason), undo_by, &failed);
        if let Err(error) = until_kept(&record, again).await {
            tracing::error!(%error, sandbox = %record.name, "a sandbox that did not start was not removed");
        }
    });
}

/// `failed` says whether the record says that it failed: then its user may have started it again.
async fn undone(
    gateway: &Gateway,
    (record, reason): (&Record, &Reason),
    undo_by: Undo,
    failed: &AtomicBool,
) -> Result<(), GatewayError> {
    if !failed.load(Ordering::Relaxed) {
        settle_failed(gateway, record, reason).await?;
        failed.store(true, Ordering::Relaxed);
    }
    if undo_by == Undo::Remove {
        gateway.store.removed(&record.id).await?;
        sweep(gateway, record).await?;
    }
    Ok(())
}
