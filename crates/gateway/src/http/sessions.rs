//! Routes that start programs, and those that become sessions.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chiton_api::{
    control::Launch,
    http::{
        CreateRequest, ExecRequest, Problem, SANDBOX_HEADER, SANDBOX_ID_HEADER, SESSION_PROTOCOL, Sandbox,
        StartRequest,
    },
};
use chiton_driver::Link;
use chiton_store::Record;
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::{net::UnixStream, sync::oneshot};

use super::{
    extract::{Body, Named, Upgrade},
    pump::{Main, pump},
    sandboxes::sandbox,
};
use crate::{
    error::GatewayError,
    gateway::Gateway,
    sandbox::{self, Started},
};

/// What a program gets whose asker left before it had its session.
const GRACE: Duration = Duration::from_secs(2);

/// Make a sandbox and start its program.
#[utoipa::path(post, path = "/v1/sandboxes", request_body = CreateRequest, responses(
    (status = 201, description = "It runs.", body = Sandbox),
    (status = 101, description = "It runs, and the connection is its session."),
    (status = "default", description = "It does not run, and nothing of it is left.", body = Problem),
))]
pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    upgrade: Upgrade,
    Body(request): Body<CreateRequest>,
) -> Result<Response, GatewayError> {
    let upgrade = if request.session.attach { Some(upgrade.required()?) } else { None };
    let there = Arc::clone(&gateway);
    let making = async move { sandbox::create(&there, request).await };
    let started = going_on(making, upgrade.is_some()).await?;
    answer(&gateway, started, upgrade, StatusCode::CREATED).await
}

/// Start the program of a sandbox that has ended, again.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/start", request_body = StartRequest,
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, description = "It runs.", body = Sandbox),
    (status = 101, description = "It runs, and the connection is its session."),
    (status = "default", description = "It does not run.", body = Problem),
))]
pub(super) async fn start(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    upgrade: Upgrade,
    Body(request): Body<StartRequest>,
) -> Result<Response, GatewayError> {
    let upgrade = if request.session.attach { Some(upgrade.required()?) } else { None };
    let record = gateway.find(&name).await?;
    let there = Arc::clone(&gateway);
    let starting = async move { sandbox::restart(&there, &record, request.session).await };
    let started = going_on(starting, upgrade.is_some()).await?;
    answer(&gateway, started, upgrade, StatusCode::OK).await
}

/// Start a further program in a running sandbox.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/exec", request_body = ExecRequest,
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 101, description = "It runs, and the connection is its session."),
    (status = "default", description = "It does not run.", body = Problem),
))]
pub(super) async fn exec(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    upgrade: Upgrade,
    Body(request): Body<ExecRequest>,
) -> Result<Response, GatewayError> {
    let upgrade = upgrade.required()?;
    sandbox::check_words(&request.argv, &request.env)?;
    let record = gateway.find(&name).await?;
    let live = gateway.running(&record).await?;
    let ExecRequest { argv, env, cwd, terminal, stdin } = request;
    let launch = Launch { main: false, argv, env, cwd, terminal, attach: true, stdin };
    let link = live.driver.start(&live.handle, &launch).await?;
    Ok(session(&record, upgrade, link, Whose::Further))
}

/// Join the session of the main program.
#[utoipa::path(post, path = "/v1/sandboxes/{sandbox}/attach",
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 101, description = "The connection is a session."),
    (status = "default", description = "It does not run.", body = Problem),
))]
pub(super) async fn attach(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    upgrade: Upgrade,
) -> Result<Response, GatewayError> {
    let upgrade = upgrade.required()?;
    let record = gateway.find(&name).await?;
    let live = gateway.running(&record).await?;
    let link = live.driver.attach(&live.handle).await?;
    Ok(session(&record, upgrade, link, Whose::Joined(Main { gateway, live })))
}

/// Starts a program, also when the asker is gone meanwhile: a name that is claimed is never left without its task. Where
/// the asker was to have its session, the program is told to end then: nobody knows of it.
async fn going_on(
    starting: impl Future<Output = Result<Started, GatewayError>> + Send + 'static,
    attached: bool,
) -> Result<Started, GatewayError> {
    let (reply, answer) = oneshot::channel();
    let (taken, is_taken) = oneshot::channel();
    tokio::spawn(async move {
        let started = starting.await;
        let live = started.as_ref().ok().map(|started| Arc::clone(&started.live));
        // It may be dropped unread.
        let went = reply.send(started).is_ok() && is_taken.await.is_ok();
        if let Some(live) = live.filter(|_| attached && !went) {
            live.stop(GRACE).await;
        }
    });
    let started = answer.await.map_err(|_| GatewayError::Lost)?;
    let _ = taken.send(());
    started
}

async fn answer(
    gateway: &Arc<Gateway>,
    started: Started,
    upgrade: Option<OnUpgrade>,
    status: StatusCode,
) -> Result<Response, GatewayError> {
    let Started { record, live, link } = started;
    match upgrade {
        Some(upgrade) => {
            Ok(session(&record, upgrade, link, Whose::Begun(Main { gateway: Arc::clone(gateway), live })))
        }
        None => {
            let now = gateway.store.find_also_removed(record.id.as_str()).await?;
            Ok((status, Json(sandbox(now))).into_response())
        }
    }
}

/// Whose a session is.
enum Whose {
    /// The main program's, which was started for it.
    Begun(Main),
    /// The main program's, which ran before.
    Joined(Main),
    /// A further program's.
    Further,
}

impl Whose {
    fn main(self) -> Option<Main> {
        match self {
            Self::Begun(main) | Self::Joined(main) => Some(main),
            Self::Further => None,
        }
    }
}

/// The 101, and the task that copies from then on.
fn session(record: &Record, upgrade: OnUpgrade, link: Link, whose: Whose) -> Response {
    tokio::spawn(async move {
        match upgrade.await {
            // It is what the listener accepts.
            Ok(upgraded) => match downcast::<TokioIo<UnixStream>>(upgraded) {
                Ok(parts) => pump(parts.io.into_inner(), parts.read_buf, link, whose.main()).await,
                Err(_) => tracing::error!("a session came on what is no connection of ours"),
            },
            Err(error) => {
                tracing::debug!(%error, "a session's user is gone");
                if let Whose::Begun(main) = whose {
                    main.live.stop(GRACE).await;
                }
            }
        }
    });
    let headers = [
        (header::CONNECTION.as_str(), "upgrade"),
        (header::UPGRADE.as_str(), SESSION_PROTOCOL),
        (SANDBOX_HEADER, record.name.as_str()),
        (SANDBOX_ID_HEADER, record.id.as_str()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
