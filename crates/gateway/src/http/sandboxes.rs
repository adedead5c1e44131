//! Routes about sandboxes that there are.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body as ResponseBody,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chiton_api::{
    http::{
        Denials, ListQuery, LogsQuery, Problem, RemoveQuery, SESSION_FRAMES, Sandbox, SandboxDetail,
        SignalRequest, State as SandboxState, StopRequest, WaitReply,
    },
    name::SandboxId,
};
use chiton_driver::LimitsHit;
use chiton_store::Record;
use futures_util::stream;
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{fs::File, io::AsyncReadExt, sync::mpsc, time::sleep};

use super::extract::{Asked, Body, Named};
use crate::{
    error::GatewayError,
    gateway::Gateway,
    sandbox::{self as life, Live},
};

/// How long a followed log waits for more.
const LOG_PERIOD: Duration = Duration::from_millis(50);

/// Sandboxes, newest first.
#[utoipa::path(get, path = "/v1/sandboxes", params(ListQuery), responses(
    (status = 200, body = Vec<Sandbox>),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<Vec<Sandbox>>, GatewayError> {
    for live in gateway.all_live() {
        live.settle().await;
    }
    let records = gateway.store.list().await?;
    let shown = records.into_iter().filter(|record| query.all || record.state.is_live());
    Ok(Json(shown.map(sandbox).collect()))
}

/// Everything about one.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}",
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, body = SandboxDetail),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
) -> Result<Json<SandboxDetail>, GatewayError> {
    let record = gateway.find(&name).await?;
    let live = gateway.live(&record.id);
    let (mut report, mut proxy, mut limits) = (None, None, LimitsHit::default());
    if let Some(live) = &live {
        report = live.driver.report(&live.handle).await.ok();
        proxy = live.proxy().await;
        limits = live.driver.limits_hit(&live.handle).await.unwrap_or_default();
    }
    let denied = current_denials(&gateway, &record).await?.count;
    let spec = record.spec.clone();
    Ok(Json(SandboxDetail {
        sandbox: sandbox(record),
        image: spec.image,
        policy_file: spec.policy_file,
        extra_read_only: spec.extra_read_only,
        env: spec.env.into_keys().collect(),
        report,
        network: proxy.as_ref().is_some_and(|proxy| proxy.revision.is_some()),
        connections: proxy.map_or(0, |proxy| proxy.connections),
        denied,
        limits,
    }))
}

/// Remove one.
#[utoipa::path(delete, path = "/v1/sandboxes/{sandbox}",
    params(("sandbox" = String, Path, description = "Its name or identity"), RemoveQuery), responses(
    (status = 204, description = "It is gone."),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Asked(query): Asked<RemoveQuery>,
) -> Result<StatusCode, GatewayError> {
    let record = gateway.find(&name).await?;
    if record.state.is_live() && !query.force {
        return Err(GatewayError::WrongState {
            name: record.name.to_string(),
            state: record.state.as_str(),
            hint: "stop it first with `chiton stop`, or remove it with `chiton rm --force`",
        });
    }
    // Goes on when the asker is gone.
    let removing = tokio::spawn(async move {
        match query.force {
            true => life::remove_by_force(&gateway, &record).await,
            false => life::remove(&gateway, &record).await,
        }
    });
    removing.await.map_err(|_| GatewayError::Lost)??;
    Ok(StatusCode::NO_CONTENT)
}

/// Stop one.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/stop", request_body = StopRequest,
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, description = "It has ended.", body = Sandbox),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn stop(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Body(request): Body<StopRequest>,
) -> Result<Json<Sandbox>, GatewayError> {
    let record = gateway.find(&name).await?;
    let live = gateway.running(&record).await?;
    live.stop(Duration::from_millis(request.grace_ms)).await;
    let ended = gateway.store.find_also_removed(record.id.as_str()).await?;
    if ended.state.is_live() {
        return Err(GatewayError::EndNotKept(record.name.to_string()));
    }
    Ok(Json(sandbox(ended)))
}

/// Send the main program a signal.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/signal", request_body = SignalRequest,
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 204, description = "It was sent."),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn signal(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Body(request): Body<SignalRequest>,
) -> Result<StatusCode, GatewayError> {
    if !(1..=64).contains(&request.signal) {
        return Err(GatewayError::BadRequest(format!(
            "{} is not a signal: expected 1 to 64",
            request.signal
        )));
    }
    let record = gateway.find(&name).await?;
    let live = gateway.running(&record).await?;
    live.driver.signal(&live.handle, request.signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Wait until one has ended.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}/wait",
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, description = "How it ended.", body = WaitReply),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn wait(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
) -> Result<Json<WaitReply>, GatewayError> {
    let record = gateway.store.find_also_removed(&name).await?;
    match gateway.live(&record.id) {
        Some(live) => live.until_ended().await,
        None if record.state.is_live() => {
            gateway.running(&record).await?.until_ended().await;
        }
        None => {}
    }
    let ended = gateway.store.find_also_removed(record.id.as_str()).await?;
    Ok(Json(WaitReply { exit_code: ended.exit_code.unwrap_or(125), reason: ended.reason }))
}

/// What the main program wrote, as session frames.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}/logs",
    params(("sandbox" = String, Path, description = "Its name or identity"), LogsQuery), responses(
    (status = 200, description = "Session frames.", content_type = "application/vnd.chiton.session-frames"),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn logs(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Asked(query): Asked<LogsQuery>,
) -> Result<Response, GatewayError> {
    let record = gateway.find(&name).await?;
    let live = if query.follow { gateway.live(&record.id) } else { None };
    let (sender, receiver) = mpsc::channel(8);
    // Whose file it is may have put a lease on it: that is told, not waited for.
    match chiton_sys::file::open(&gateway.folder(&record.id).join("log")) {
        Ok(file) => drop(tokio::spawn(send_log(File::from_std(file), live, sender))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => drop(sender),
        Err(source) => return Err(GatewayError::Io { doing: "cannot read the sandbox's log", source }),
    }
    Ok(([(CONTENT_TYPE, SESSION_FRAMES)], streamed(receiver)).into_response())
}

async fn send_log(mut file: File, live: Option<Arc<Live>>, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Asked before reading: what was written before the end is read after it.
        let ended = match &live {
            Some(live) => tokio::time::timeout(Duration::ZERO, live.until_ended()).await.is_ok(),
            None => true,
        };
        loop {
            let chunk = match file.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => Ok(Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default())),
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                return;
            }
        }
        if ended || sender.is_closed() {
            return;
        }
        sleep(LOG_PERIOD).await;
    }
}

/// What was refused since the sandbox last started.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}/denials",
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, body = Denials),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn denials(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
) -> Result<Json<Denials>, GatewayError> {
    // Who waited for the end of one asks by its identity while it still has its task: no record is needed for that.
    let live = SandboxId::try_from(name.clone()).ok().filter(|id| gateway.live(id).is_some());
    if let Some(id) = live {
        gateway.chain_of(&id).await?;
        if let Some(denials) = gateway.audit.denials(&id) {
            return Ok(Json(denials));
        }
    }
    let record = gateway.store.find_also_removed(&name).await?;
    Ok(Json(current_denials(&gateway, &record).await?))
}

async fn current_denials(gateway: &Gateway, record: &Record) -> Result<Denials, GatewayError> {
    if record.state.is_live() {
        gateway.chain_now().await?;
        if let Some(denials) = gateway.audit.denials(&record.id) {
            return Ok(denials);
        }
    }
    // It has ended, maybe a moment ago.
    Ok(gateway.store.find_also_removed(record.id.as_str()).await?.denials)
}

/// A record as it is told.
pub(super) fn sandbox(record: Record) -> Sandbox {
    Sandbox {
        id: record.id,
        name: record.name,
        state: record.state,
        driver: record.driver,
        workspace: record.spec.workspace,
        argv: record.spec.argv,
        created: record.created,
        started: record.started,
        ended: if record.state == SandboxState::Running { None } else { record.ended },
        exit_code: record.exit_code,
        reason: record.reason,
        revision: record.revision,
        policy_digest: record.digest,
        remove: record.remove,
    }
}

/// A body that comes through a channel.
pub(super) fn streamed(receiver: mpsc::Receiver<io::Result<Bytes>>) -> ResponseBody {
    let next = |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    };
    ResponseBody::from_stream(stream::unfold(receiver, next))
}
