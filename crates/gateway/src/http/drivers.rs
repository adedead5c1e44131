//! Routes about what runs sandboxes.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use chiton_api::{
    http::{Examination, Problem, PullLine, PullRequest, PullStep},
    name::DriverName,
};
use http::header::CONTENT_TYPE;
use tokio::sync::mpsc;

use super::{extract::Body, sandboxes::streamed};
use crate::{error::GatewayError, gateway::Gateway};

/// One JSON value a line.
const LINES: &str = "application/x-ndjson";

/// Try each layer where a driver's sandboxes run.
#[utoipa::path(post, path = "/v1/drivers/{driver}/examine",
    params(("driver" = String, Path, description = "Its name")), responses(
    (status = 200, body = Examination),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn examine(
    State(gateway): State<Arc<Gateway>>,
    Path(driver): Path<DriverName>,
) -> Result<Json<Examination>, GatewayError> {
    let driver = gateway.driver(driver)?;
    // To its end also when the asker is gone: what it made is taken away again.
    let examined = tokio::spawn(async move { driver.examine().await });
    let checks = examined.await.map_err(|_| GatewayError::Lost)??;
    Ok(Json(Examination { checks }))
}

/// Bring an image where it is not on this machine.
#[utoipa::path(post, path = "/v1/drivers/{driver}/pull", request_body = PullRequest,
    params(("driver" = String, Path, description = "Its name")), responses(
    (status = 200, description = "How far it is, a `PullLine` a line.", content_type = "application/x-ndjson", body = PullLine),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn pull(
    State(gateway): State<Arc<Gateway>>,
    Path(driver): Path<DriverName>,
    Body(request): Body<PullRequest>,
) -> Result<Response, GatewayError> {
    let driver = gateway.driver(driver)?;
    let (told, mut steps) = mpsc::channel::<PullStep>(8);
    let (lines, answer) = mpsc::channel(8);
    tokio::spawn(async move {
        let pulled = tokio::spawn(async move { driver.pull(&request.image, told).await });
        while let Some(step) = steps.recv().await {
            if lines.send(line(&PullLine::Step(step))).await.is_err() {
                return;
            }
        }
        let last = match pulled.await {
            Ok(Ok(())) => PullLine::Done,
            Ok(Err(error)) => PullLine::Failed(error.to_string()),
            Err(error) => PullLine::Failed(format!("the pull did not come to its end: {error}")),
        };
        let _ = lines.send(line(&last)).await;
    });
    Ok(([(CONTENT_TYPE, LINES)], streamed(answer)).into_response())
}

fn line(line: &PullLine) -> io::Result<Bytes> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text.into())
}
