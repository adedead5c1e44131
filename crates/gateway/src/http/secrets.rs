//! Routes about the local store. Values come in and never go out.

use std::sync::Arc;

use axum::{Json, extract::State};
use chiton_api::http::{Problem, SecretInfo, SetSecret};
use chiton_audit::Layer;
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

fn told<'a>(action: &'static str, reference: &'a str) -> Told<'a> {
    let layer = Layer::Credential;
    Told { sandbox: None, revision: None, layer, action, decision: None, reason: None, rule: Some(reference) }
        .allowed()
}
