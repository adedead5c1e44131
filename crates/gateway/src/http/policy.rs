//! Routes about policies of sandboxes.

use std::sync::Arc;

use axum::{Json, extract::State};
use chiton_api::http::{ApplyReply, ApplyRequest, PolicyReply, Problem, RevisionInfo};

use super::extract::{Body, Named};
use crate::{document::Document, error::GatewayError, gateway::Gateway, sandbox};

/// The policy in force.
#[utoipa::path(get, path = "/v1/sandboxes/{sandbox}/policy",
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, body = PolicyReply),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
) -> Result<Json<PolicyReply>, GatewayError> {
    let record = gateway.find(&name).await?;
    let revisions = gateway.store.revisions(&record.id).await?;
    let current = revisions.iter().find(|revision| revision.revision == record.revision);
    let base = Document::parse(&record.policy)?;
    let policy = match current {
        Some(revision) => base.with_dynamic_of(&Document::parse(&revision.policy)?),
        None => record.policy.clone(),
    };
    let info = |revision: &chiton_store::Revision| RevisionInfo {
        revision: revision.revision,
        digest: revision.digest.clone(),
        created: revision.created,
        push: revision.push,
    };
    Ok(Json(PolicyReply {
        policy,
        revision: record.revision,
        digest: record.digest,
        history: revisions.iter().map(info).collect(),
    }))
}

/// Replace the dynamic half. Answered when the proxy enforces it, or with the reason why the old one stays.
#[utoipa::path(put, path = "/v1/sandboxes/{sandbox}/policy", request_body = ApplyRequest,
    params(("sandbox" = String, Path, description = "Its name or identity")), responses(
    (status = 200, description = "It is enforced.", body = ApplyReply),
    (status = 409, description = "Its static half differs; `differing` says where.", body = Problem),
    (status = "default", description = "The one before stays.", body = Problem),
))]
pub(super) async fn apply(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Body(request): Body<ApplyRequest>,
) -> Result<Json<ApplyReply>, GatewayError> {
    let document = Document::parse(&request.policy)?;
    let record = gateway.find(&name).await?;
    let differs = !Document::parse(&record.policy)?.differing(&document).is_empty();
    if request.recreate && differs {
        // Goes on when the asker is gone.
        let file = request.policy_file;
        let recreating =
            tokio::spawn(async move { sandbox::recreate(&gateway, &record, document, file).await });
        return Ok(Json(recreating.await.map_err(|_| GatewayError::Lost)??));
    }
    Ok(Json(gateway.running(&record).await?.apply(document).await?))
}
