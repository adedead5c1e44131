//! Routes about the audit log.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chiton_api::http::{AuditQuery, NDJSON, Problem, VerifyReply};
use http::header::CONTENT_TYPE;
use tokio::task::spawn_blocking;

use super::{extract::Asked, sandboxes::streamed};
use crate::{
    audit::{self, Filter},
    error::GatewayError,
    gateway::Gateway,
};

/// Events that match, one a line, as they stand in the log.
#[utoipa::path(get, path = "/v1/audit", params(AuditQuery), responses(
    (status = 200, description = "One event a line.", content_type = "application/x-ndjson"),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn query(
    State(gateway): State<Arc<Gateway>>,
    Asked(query): Asked<AuditQuery>,
) -> Result<Response, GatewayError> {
    let filter = Filter::try_from(&query).map_err(|error| GatewayError::BadRequest(error.to_string()))?;
    if let Err(error) = gateway.chain_now().await {
        tracing::error!(%error, "events wait in their files");
    }
    let lines = audit::search(Arc::clone(&gateway.audit), filter, query.follow);
    Ok(([(CONTENT_TYPE, NDJSON)], streamed(lines)).into_response())
}

/// Check that the log is as it was written.
#[utoipa::path(post, path = "/v1/audit/verify", responses(
    (status = 200, description = "What was found.", body = VerifyReply),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn verify(State(gateway): State<Arc<Gateway>>) -> Result<Json<VerifyReply>, GatewayError> {
    let log = Arc::clone(&gateway.audit);
    let reply = spawn_blocking(move || audit::verify(&log)).await.map_err(|_| GatewayError::Lost)??;
    Ok(Json(reply))
}
