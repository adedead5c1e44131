//! `http://chiton.internal/`: what the agent may ask about itself. Answered here, nothing of it goes anywhere.
//!
//! `GET /policy` says what is allowed now, `GET /denials` what was refused lately and what would have allowed it.
//! Both as JSON; neither tells where a credential is kept.

use bytes::Bytes;
use chiton_policy::Intent;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    message::{Response, ResponseBody},
    refuse,
    state::Proxy,
};

const HOST: &str = "chiton.internal";
/// Where a policy names a secret.
const REFERENCES: [&str; 2] = ["inject_backend_credential", "secret"];

/// Whether a request is for us.
pub(crate) fn is_asked(intent: &Intent) -> bool {
    intent.host().name() == Some(HOST)
}

/// The answer to one.
pub(crate) fn answer(proxy: &Proxy, intent: &Intent) -> Response {
    let revision = proxy.running.revision();
    if let Err(error) = proxy.events.asked(intent, revision.number) {
        return refuse::plain(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    if !matches!(intent.method().as_str(), "GET" | "HEAD") {
        let mut response = refuse::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET can be asked here");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match intent.path() {
        "/policy" => document(
            &json!({ "revision": revision.number, "policy": without_references(&revision.document) }),
        ),
        "/denials" => document(&json!({ "denials": proxy.events.denials() })),
        _ => refuse::plain(StatusCode::NOT_FOUND, "there is /policy and /denials"),
    }
}

fn document(value: &Value) -> Response {
    let mut response = http::Response::new(ResponseBody::Own(Some(Bytes::from(format!("{value:#}\n")))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same document, in which a secret's place is only said to be one.
fn without_references(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let hidden = |(name, value): (&String, &Value)| {
                let shown = match REFERENCES.contains(&name.as_str()) {
                    true => json!("set"),
                    false => without_references(value),
                };
                (name.clone(), shown)
            };
            Value::Object(fields.iter().map(hidden).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_references).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
