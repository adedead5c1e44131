//! What the agent is told instead of a response: problem documents (RFC 9457).

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::message::{Request, Response, ResponseBody};

const DENIED: HeaderName = HeaderName::from_static("x-chiton-denied");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A refusal by policy, in the order of keys that is promised.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal<'a> {
    /// `https://chiton.internal/denied/<reason>`.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    sandbox: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
}

/// What a refusal says.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    /// The reason, of the closed set.
    pub(crate) reason: &'a str,
    /// The status: 403, but 429 for a limit of a model route, and 502 where an upstream server failed.
    pub(crate) status: StatusCode,
    /// One line for a person.
    pub(crate) detail: &'a str,
    /// The rule that came nearest.
    pub(crate) rule: Option<&'a str>,
    /// The sandbox's name.
    pub(crate) sandbox: &'a str,
    /// The audit event's id.
    pub(crate) event: &'a str,
    /// A rule that would allow it.
    pub(crate) suggestion: Option<&'a str>,
}

/// The response for a refusal.
pub(crate) fn refusal(said: &Said<'_>) -> Response {
    let title = if [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&said.status) {
        "Denied by policy"
    } else {
        "Refused by the sandbox's proxy"
    };
    let body = Refusal {
        kind: format!("https://chiton.internal/denied/{}", said.reason),
        title,
        status: said.status.as_u16(),
        detail: said.detail,
        reason: said.reason,
        rule: said.rule,
        sandbox: said.sandbox,
        event: said.event,
        suggestion: said.suggestion,
    };
    let mut response = document(said.status, serde_json::to_vec(&body).unwrap_or_default());
    if let Ok(reason) = HeaderValue::from_str(said.reason) {
        response.headers_mut().insert(DENIED, reason);
    }
    response.extensions_mut().insert(Detail(format!("{}: {}", said.reason, said.detail)));
    response
}

/// What a refusal says, for those who do not read its document.
#[derive(Clone, Debug)]
struct Detail(String);

const GRPC: &[u8] = b"application/grpc";

/// Whether a request is a call of gRPC, which is of HTTP/2 alone.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let called = kind.split_at_checked(GRPC.len()).is_some_and(|(begin, rest)| {
        begin.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
    });
    called && request.authority.is_some()
}

/// Says a refusal in gRPC's own way: its programs read the status and the message of a call, which they take from
/// the head of an answer only where no body follows.
pub(crate) fn tell_grpc(response: &mut Response) {
    let Some(Detail(said)) = response.extensions_mut().remove() else { return };
    let mut message = String::new();
    for byte in said.bytes().take(1024) {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(char::from(byte)),
            _ => {
                let _ = write!(message, "%{byte:02X}");
            }
        }
    }
    *response.body_mut() = ResponseBody::Own(None);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("7"));
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
}

/// A response for what is no refusal by policy: a malformed request, a server that cannot be reached.
pub(crate) fn plain(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    document(status, body.to_string().into_bytes())
}

fn document(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = http::Response::new(ResponseBody::Own(Some(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text of the agent's for a line of ours: printable, and short.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(200) {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}
