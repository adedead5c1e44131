//! What a request brings, parsed at the edge: whatever does not parse is a problem of one line.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use chiton_api::http::SESSION_PROTOCOL;
use http::{HeaderMap, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;

use crate::error::GatewayError;

/// A JSON body; an empty one is that of a type that has a default.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = GatewayError;

    async fn from_request(request: Request, state: &S) -> Result<Self, GatewayError> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes =
            bytes.map_err(|error| GatewayError::BadRequest(format!("the body cannot be read: {error}")))?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            let error = without_values(&error.to_string());
            GatewayError::BadRequest(format!("the body is not what this route takes: {error}"))
        })
    }
}

/// The parser repeats a text that stands where none is expected, and that may be a secret.
fn without_values(error: &str) -> String {
    match (error.find("string \""), error.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => {
            let (before, after) =
                (error.get(..from).unwrap_or_default(), error.get(to + 1..).unwrap_or_default());
            format!("{before}a text{after}")
        }
        _ => error.to_owned(),
    }
}

/// A query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, GatewayError> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            GatewayError::BadRequest(format!("the query is not what this route takes: {}", error.body_text()))
        })
    }
}

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, GatewayError> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|error| GatewayError::BadRequest(error.body_text()))
    }
}

/// The request asks for a session, and its connection can become one.
pub(super) struct Upgrade(Option<OnUpgrade>);

impl Upgrade {
    /// The connection, or that none was asked for.
    pub(super) fn required(self) -> Result<OnUpgrade, GatewayError> {
        self.0.ok_or_else(|| {
            GatewayError::BadRequest(format!(
                "a session needs the headers `Connection: Upgrade` and `Upgrade: {SESSION_PROTOCOL}`"
            ))
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, GatewayError> {
        let asked = has(&parts.headers, header::CONNECTION, "upgrade")
            && has(&parts.headers, header::UPGRADE, SESSION_PROTOCOL);
        Ok(Self(if asked { parts.extensions.remove::<OnUpgrade>() } else { None }))
    }
}

fn has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|given| given.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use chiton_api::http::SetSecret;

    use super::without_values;

    #[test]
    fn an_error_repeats_no_secret() {
        for body in
            [r#"{"value":"sk-s3cret\", expected"}"#, r#"{"value":[1],"hosts":"sk-s3cret"}"#, r#""sk-s3cret""#]
        {
            let error = serde_json::from_str::<SetSecret>(body).unwrap_err().to_string();
            let shown = without_values(&error);
            assert!(
                error.contains("s3cret") && !shown.contains("s3cret") && shown.contains("expected"),
                "{shown}"
            );
        }
    }
}
