//! Routes about the gateway itself.

use std::sync::Arc;

use axum::{Json, extract::State};
use chiton_api::http::{AuditHealth, DriverStatus, Folders, Problem, Status, StopGateway, Stopping, Version};
use chiton_driver::{Capabilities, ComputeDriver};
use futures_util::future::join_all;
use http::StatusCode;
use std::time::Duration;
use utoipa::OpenApi;

use super::{Api, extract::Body};
use crate::{error::GatewayError, gateway::Gateway};

/// What a program gets to end when the gateway ends all.
const GRACE: Duration = Duration::from_secs(10);

/// Which program this is.
#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: 1 })
}

/// How the gateway is.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Json<Status> {
    let (events, fault) = gateway.audit.health();
    let paths = &gateway.paths;
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: gateway.started,
        folders: Folders {
            state: paths.state.clone(),
            runtime: paths.runtime.clone(),
            config: paths.config_file(),
        },
        running: gateway.count_running(),
        drivers: gateway.drivers.iter().map(|driver| driver_status(&**driver)).collect(),
        audit: AuditHealth { writable: fault.is_none(), events, fault },
    })
}

fn driver_status(driver: &dyn ComputeDriver) -> DriverStatus {
    let Capabilities { live_denied_paths, transparent_capture, resources, gpu, images } =
        driver.capabilities();
    DriverStatus { name: driver.name(), live_denied_paths, transparent_capture, resources, gpu, images }
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}

/// End the gateway. Sandboxes run on, unless all of them shall end first.
#[utoipa::path(post, path = "/v1/stop", request_body = StopGateway, responses(
    (status = 202, description = "It ends.", body = Stopping),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn stop(
    State(gateway): State<Arc<Gateway>>,
    Body(request): Body<StopGateway>,
) -> Result<(StatusCode, Json<Stopping>), GatewayError> {
    let stopped = if request.all { gateway.count_running() } else { 0 };
    if request.all {
        let all = gateway.all_live();
        join_all(all.iter().map(|live| live.stop(GRACE))).await;
    }
    let running = gateway.count_running();
    gateway.ending.send_replace(true);
    Ok((StatusCode::ACCEPTED, Json(Stopping { running, stopped })))
}
