//! Routes about model calls.

use std::sync::Arc;

use axum::{Json, extract::State};
use chiton_api::http::{Problem, UsageQuery, UsageReply};
use tokio::task::spawn_blocking;

use super::extract::Asked;
use crate::{audit, error::GatewayError, gateway::Gateway};

/// What model calls used and cost, by what the audit log says; of removed sandboxes, too.
#[utoipa::path(get, path = "/v1/llm/usage", params(UsageQuery), responses(
    (status = 200, description = "The sums.", body = UsageReply),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn usage(
    State(gateway): State<Arc<Gateway>>,
    Asked(query): Asked<UsageQuery>,
) -> Result<Json<UsageReply>, GatewayError> {
    if let Err(error) = gateway.chain_now().await {
        tracing::error!(%error, "events wait in their files");
    }
    let log = Arc::clone(&gateway.audit);
    let reply =
        spawn_blocking(move || audit::usage(&log, &query)).await.map_err(|_| GatewayError::Lost)??;
    Ok(Json(reply))
}
