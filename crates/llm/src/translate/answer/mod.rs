//! Whole answers: results, and errors in the asker's own shape.

mod of_chat;
mod of_messages;
mod usage;

pub(super) use of_chat::{Thought, stop_of};
pub(super) use of_messages::{Block, finish_of};
pub(super) use usage::{ChatUsage, Figures, MessagesUsage};

use http::StatusCode;
use serde::Deserialize;

use super::{
    Answers,
    read::Api,
    write::{Obj, quoted},
};

/// What the asker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// With which status.
    pub status: StatusCode,
    /// JSON.
    pub body: String,
}

/// Why an answer cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the backend's answer is not what its API says: {}", short(&.0.to_string()))]
    Shape(#[from] serde_json::Error),
    #[error("the backend's answer has {0}, which cannot be translated")]
    Has(&'static str),
    #[error("the backend's answer says `{what}: {said}`, which cannot be translated")]
    Says { what: &'static str, said: String },
    #[error("the backend's answer ended before its end")]
    Ended,
    #[error("an event of the backend's answer is too long")]
    TooLong,
}

impl Unreadable {
    pub(super) fn says(what: &'static str, said: &str) -> Self {
        Self::Says { what, said: short(said) }
    }
}

/// What a backend says may be long.
fn short(said: &str) -> String {
    said.chars().take(120).flat_map(char::escape_debug).collect()
}

pub(super) fn whole(answers: &Answers, status: StatusCode, body: &[u8], now: u64) -> Answer {
    if !status.is_success() {
        return error(answers.asker, status, &said_by(body, status));
    }
    let told = match answers.asker {
        Api::Messages => of_chat::message(body, answers.thinking),
        Api::Chat => of_messages::completion(body, now),
    };
    match told {
        Ok(body) => Answer { status, body },
        Err(why) => error(answers.asker, StatusCode::BAD_GATEWAY, &why.to_string()),
    }
}

/// An error as the asker's API tells one.
pub(super) fn error(asker: Api, status: StatusCode, message: &str) -> Answer {
    let error = error_of(asker, status, message);
    let body = match asker {
        Api::Messages => Obj::new().str("type", "error").raw("error", &error),
        Api::Chat => Obj::new().raw("error", &error),
    };
    Answer { status, body: body.end() }
}

pub(super) fn error_of(asker: Api, status: StatusCode, message: &str) -> String {
    match asker {
        Api::Messages => Obj::new().str("type", kind_of(status)).str("message", message).end(),
        Api::Chat => {
            let kind = chat_kind_of(status);
            let error = Obj::new().str("message", message).str("type", kind).raw("param", "null");
            error.raw("code", &code_of(status).map_or_else(|| "null".to_owned(), quoted)).end()
        }
    }
}

/// As Anthropic's documentation lists them.
fn kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn chat_kind_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn code_of(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 => Some("invalid_api_key"),
        429 => Some("rate_limit_exceeded"),
        503 | 529 => Some("overloaded"),
        _ => None,
    }
}

/// The status that an error of a stream would have had, by its type.
pub(super) fn status_of(kind: &str) -> StatusCode {
    let code = match kind {
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        "invalid_request_error" => 400,
        _ => 500,
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An error as servers tell one: both vendors, and those who are like one of them.
#[derive(Deserialize)]
struct Failed {
    error: Option<ErrorSaid>,
    message: Option<serde_json::Value>,
    detail: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum ErrorSaid {
    Object {
        message: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
        code: Option<serde_json::Value>,
    },
    Text(String),
}

impl ErrorSaid {
    /// The message; with the code, which the asker's API may have no place for.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            ErrorSaid::Text(text) => Some(text.clone()),
            ErrorSaid::Object { message, code, .. } => {
                let message = message.as_ref()?;
                match code.as_ref().and_then(serde_json::Value::as_str) {
                    Some(code) => Some(format!("{message} ({code})")),
                    None => Some(message.clone()),
                }
            }
        }
    }

    pub(super) fn kind(&self) -> &str {
        match self {
            ErrorSaid::Object { kind: Some(kind), .. } => kind,
            ErrorSaid::Object { .. } | ErrorSaid::Text(_) => "",
        }
    }
}

fn said_by(body: &[u8], status: StatusCode) -> String {
    let failed: Option<Failed> = serde_json::from_slice(body).ok();
    let said = failed.and_then(|failed| {
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let told = failed.error.and_then(|error| error.message());
        told.or_else(|| failed.message.map(text)).or_else(|| failed.detail.map(text))
    });
    said.unwrap_or_else(|| format!("the backend answered {status}"))
}
