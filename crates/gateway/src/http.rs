//! The HTTP API: routes, and the document that describes them, made from the same code.

mod audit;
mod drivers;
mod extract;
mod gateway;
mod llm;
mod policy;
mod pump;
mod sandboxes;
mod secrets;
mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use utoipa::OpenApi;

use crate::{error::GatewayError, gateway::Gateway};

/// More than the largest policy with its environment.
const MAX_BODY: usize = 4 << 20;

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chiton gateway",
        description = "Sandboxes, their policies, secrets and the audit log. Served over a Unix socket to the gateway's own user. A request for a session carries `Connection: Upgrade` and `Upgrade: chiton-session`."
    ),
    paths(
        gateway::version,
        gateway::status,
        gateway::openapi,
        drivers::examine,
        drivers::pull,
        gateway::stop,
        sandboxes::list,
        sandboxes::show,
        sandboxes::remove,
        sandboxes::stop,
        sandboxes::signal,
        sandboxes::wait,
        sandboxes::logs,
        sandboxes::denials,
        sessions::create,
        sessions::start,
        sessions::exec,
        sessions::attach,
        policy::show,
        policy::apply,
        audit::query,
        audit::verify,
        llm::usage,
        secrets::list,
        secrets::set,
        secrets::remove,
        secrets::test,
        secrets::change_key,
    ),
    components(schemas(chiton_api::http::Problem))
)]
pub(crate) struct Api;

/// Every route. A test holds this against the document.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/version", get(gateway::version))
        .route("/v1/status", get(gateway::status))
        .route("/v1/openapi.json", get(gateway::openapi))
        .route("/v1/drivers/{driver}/examine", post(drivers::examine))
        .route("/v1/drivers/{driver}/pull", post(drivers::pull))
        .route("/v1/stop", post(gateway::stop))
        .route("/v1/sandboxes", get(sandboxes::list).post(sessions::create))
        .route("/v1/sandboxes/{sandbox}", get(sandboxes::show).delete(sandboxes::remove))
        .route("/v1/sandboxes/{sandbox}/start", post(sessions::start))
        .route("/v1/sandboxes/{sandbox}/stop", post(sandboxes::stop))
        .route("/v1/sandboxes/{sandbox}/signal", post(sandboxes::signal))
        .route("/v1/sandboxes/{sandbox}/wait", get(sandboxes::wait))
        .route("/v1/sandboxes/{sandbox}/logs", get(sandboxes::logs))
        .route("/v1/sandboxes/{sandbox}/exec", post(sessions::exec))
        .route("/v1/sandboxes/{sandbox}/attach", post(sessions::attach))
        .route("/v1/sandboxes/{sandbox}/denials", get(sandboxes::denials))
        .route("/v1/sandboxes/{sandbox}/policy", get(policy::show).put(policy::apply))
        .route("/v1/audit", get(audit::query))
        .route("/v1/audit/verify", post(audit::verify))
        .route("/v1/llm/usage", get(llm::usage))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::set))
        .route("/v1/secrets/{name}", delete(secrets::remove))
        .route("/v1/store-key", post(secrets::change_key))
        .route("/v1/resolve", post(secrets::test))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(gateway)
}

async fn no_route(uri: http::Uri) -> GatewayError {
    let name = uri.path().chars().take(120).collect();
    GatewayError::NotFound { what: "route", name }
}

async fn no_method(method: http::Method, uri: http::Uri) -> GatewayError {
    let path: String = uri.path().chars().take(120).collect();
    GatewayError::BadRequest(format!("`{path}` does not know the method `{method}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `router` registers, read from its source: axum does not tell.
    fn registered() -> Vec<(String, String)> {
        let source = include_str!("http.rs");
        let mut routes = Vec::new();
        for line in source.lines().map(str::trim).filter(|line| line.starts_with(".route(\"")) {
            let path = line.split('"').nth(1).unwrap().to_owned();
            let handlers = line.split_once(", ").unwrap().1;
            for method in ["get", "post", "put", "delete"] {
                if handlers.split('.').any(|call| call.starts_with(&format!("{method}("))) {
                    routes.push((path.clone(), method.to_owned()));
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_is_in_the_document_and_no_other() {
        let document = serde_json::to_value(Api::openapi()).unwrap();
        assert_eq!(document["openapi"].as_str().map(|v| &v[..3]), Some("3.1"));
        let mut described = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            described.extend(methods.as_object().unwrap().keys().map(|m| (path.clone(), m.clone())));
        }
        let mut routes = registered();
        described.sort();
        routes.sort();
        assert_eq!(described, routes);
        assert_eq!(routes.len(), 28);
    }
}
