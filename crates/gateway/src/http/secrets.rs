//! Routes about the local store. Values come in and never go out.

use std::sync::Arc;

use axum::{Json, extract::State};
use chiton_api::http::{ChangeKey, ChangedKey, Problem, SecretInfo, SetSecret, TestSecret, TestedSecret};
use chiton_audit::Layer;
use chiton_secret::{RefError, SecretRef};
use http::StatusCode;

use super::extract::{Body, Named};
use crate::{
    error::GatewayError,
    gateway::{Gateway, Told},
};

/// What is stored, without values.
#[utoipa::path(get, path = "/v1/secrets", responses(
    (status = 200, body = Vec<SecretInfo>),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Json<Vec<SecretInfo>>, GatewayError> {
    Ok(Json(gateway.secrets.list().await?))
}

/// Store a value.
#[utoipa::path(put, path = "/v1/secrets/{name}", request_body = SetSecret,
    params(("name" = String, Path, description = "As in `local://name`")), responses(
    (status = 204, description = "It is stored."),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn set(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
    Body(secret): Body<SetSecret>,
) -> Result<StatusCode, GatewayError> {
    gateway.secrets.set(&name, secret.value, secret.hosts).await?;
    gateway.record(told("set", &format!("local://{name}")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove one.
#[utoipa::path(delete, path = "/v1/secrets/{name}",
    params(("name" = String, Path, description = "As in `local://name`")), responses(
    (status = 204, description = "It is gone."),
    (status = "default", body = Problem, description = "An error."),
))]
pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Named(name): Named,
) -> Result<StatusCode, GatewayError> {
    gateway.secrets.remove(&name).await?;
    gateway.record(told("remove", &format!("local://{name}")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Seal the local store with another key.
#[utoipa::path(post, path = "/v1/store-key", request_body = ChangeKey, responses(
    (status = 200, body = ChangedKey),
    (status = "default", body = Problem, description = "An error; the store is as before."),
))]
pub(super) async fn change_key(
    State(gateway): State<Arc<Gateway>>,
    Body(change): Body<ChangeKey>,
) -> Result<Json<ChangedKey>, GatewayError> {
    let secrets = gateway.secrets.change_key(change).await?;
    gateway.record(told("change_key", "local://"))?;
    Ok(Json(ChangedKey { secrets }))
}

/// Try whether a reference resolves, and tell what may be told of its value.
#[utoipa::path(post, path = "/v1/resolve", request_body = TestSecret, responses(
    (status = 200, body = TestedSecret),
    (status = "default", body = Problem, description = "An error, which says why it does not resolve."),
))]
pub(super) async fn test(
    State(gateway): State<Arc<Gateway>>,
    Body(test): Body<TestSecret>,
) -> Result<Json<TestedSecret>, GatewayError> {
    let reference: SecretRef =
        test.reference.parse().map_err(|error: RefError| GatewayError::BadRequest(error.to_string()))?;
    let shown = reference.to_string();
    let tested = gateway.secrets.test(&reference).await;
    let event = told("resolve", &shown);
    gateway.record(if tested.is_ok() { event } else { event.denied("credential_unavailable") })?;
    tested.map(Json)
}

fn told<'a>(action: &'static str, reference: &'a str) -> Told<'a> {
    let layer = Layer::Credential;
    Told { sandbox: None, revision: None, layer, action, decision: None, reason: None, rule: Some(reference) }
        .allowed()
}
