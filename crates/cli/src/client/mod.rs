//! The gateway's API, as the verbs use it. Starts a gateway for this user where none answers.

mod start;
pub(crate) mod wire;

use std::{io, os::unix::net::UnixStream};

use chiton_api::http::{Problem, ProblemKind, SANDBOX_HEADER, SANDBOX_ID_HEADER, SESSION_PROTOCOL};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::start::{connect, connect_running};
use self::wire::{Request, Response, answer, exchange, send};
use crate::{
    error::{CliError, Status},
    session::Early,
};

/// The gateway of this user.
#[derive(Debug)]
pub(crate) struct Client {
    start: start::Starter,
}

/// A connection that became a session.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// The connection.
    pub(crate) stream: UnixStream,
    /// Bytes of the session that came with the answer.
    pub(crate) early: Vec<u8>,
    /// The sandbox's name, where the gateway told it.
    pub(crate) sandbox: Option<String>,
    /// Its identity, likewise.
    pub(crate) identity: Option<String>,
}

impl Client {
    /// Another one of the same gateway, for another thread.
    pub(crate) fn beside(&self) -> Self {
        Self { start: self.start.beside() }
    }

    /// `GET`, a JSON answer.
    pub(crate) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, CliError> {
        self.json(&Request { method: "GET", target, body: None, upgrade: None })
    }

    /// A JSON body, a JSON answer.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.json(&Request { method, target, body: Some(encode(body)?), upgrade: None })
    }

    /// An answer without a body.
    pub(crate) fn command(&self, method: &str, target: &str, body: Option<Vec<u8>>) -> Result<(), CliError> {
        self.exchange(&Request { method, target, body, upgrade: None }).map(drop)
    }

    /// An answer that is read as it comes.
    pub(crate) fn stream(&self, target: &str) -> Result<Response, CliError> {
        self.exchange(&Request { method: "GET", target, body: None, upgrade: None })
    }

    /// A JSON body, an answer that is read as it comes.
    pub(crate) fn lines(&self, target: &str, body: &impl Serialize) -> Result<Response, CliError> {
        self.exchange(&Request { method: "POST", target, body: Some(encode(body)?), upgrade: None })
    }

    /// Asks for a session.
    pub(crate) fn session(&self, target: &str, body: Option<Vec<u8>>) -> Result<Upgraded, CliError> {
        let request = Request { method: "POST", target, body, upgrade: Some(SESSION_PROTOCOL) };
        let stream = self.start.dial()?;
        let early = Early::hold()?;
        let sent = send(&stream, &request).and_then(|()| early.until_answered(&stream));
        let response = accepted(sent.and_then(|()| answer(stream)))?;
        if response.status != 101 {
            return Err(CliError::new("the gateway did not open a session")
                .hint("another version of chiton may be running: chiton gateway stop"));
        }
        let sandbox = response.header(SANDBOX_HEADER).map(str::to_owned);
        let identity = response.header(SANDBOX_ID_HEADER).map(str::to_owned);
        let (stream, early) = response.into_stream();
        Ok(Upgraded { stream, early, sandbox, identity })
    }

    /// Waits until the gateway that was told to stop has ended.
    pub(crate) fn await_end(&self) -> Result<(), CliError> {
        self.start.await_end()
    }

    fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, CliError> {
        let body = self.exchange(request)?.bytes().map_err(|e| lost(&e))?;
        serde_json::from_slice(&body).map_err(|error| {
            CliError::new(format!("the gateway's answer cannot be read: {error}"))
                .hint("another version of chiton may be running: chiton gateway stop")
        })
    }

    fn exchange(&self, request: &Request<'_>) -> Result<Response, CliError> {
        accepted(exchange(self.start.dial()?, request))
    }
}

/// An answer that is no refusal.
fn accepted(response: io::Result<Response>) -> Result<Response, CliError> {
    let response = response.map_err(|e| lost(&e))?;
    match response.status {
        101 | 200..=299 => Ok(response),
        status => Err(refusal(status, &response.bytes().map_err(|e| lost(&e))?)),
    }
}

/// A body as JSON.
pub(crate) fn encode(body: &impl Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(body).map_err(|e| CliError::new(format!("cannot write the request: {e}")))
}

/// A text as one segment of a path, or as a value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The target of a sandbox's resource. `.` and `..` are no names, and must not become path segments.
pub(crate) fn sandbox_target(sandbox: &str, rest: &str) -> Result<String, CliError> {
    if sandbox.is_empty() || sandbox == "." || sandbox == ".." {
        return Err(CliError::new(format!("`{sandbox}` is not a sandbox name")).hint("chiton ps --all"));
    }
    Ok(format!("/v1/sandboxes/{}{rest}", escape(sandbox)))
}

fn lost(error: &io::Error) -> CliError {
    CliError::new(format!("the gateway ended the connection: {error}")).hint("chiton gateway status")
}

fn refusal(status: u16, body: &[u8]) -> CliError {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return CliError::new(format!("the gateway answered {status} without saying why"))
            .hint("chiton gateway status");
    };
    let code = match problem.exit_status {
        126 | 127 => Status::Code(problem.exit_status),
        _ => Status::Failed,
    };
    let mut message = problem.detail;
    if problem.kind == ProblemKind::StaticDiffers && !problem.differing.is_empty() {
        message.push_str(&format!(" ({})", problem.differing.join(", ")));
    }
    let error = CliError::new(message).status(code);
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(sandbox_target("a/../b", "/stop").unwrap(), "/v1/sandboxes/a%2F..%2Fb/stop");
        assert_eq!(sandbox_target("a b\r\n", "").unwrap(), "/v1/sandboxes/a%20b%0D%0A");
        assert!(sandbox_target("..", "").is_err());
    }

    #[test]
    fn a_refusal_keeps_status_and_hint() {
        let body =
            br#"{"type":"driver","status":422,"detail":"`x` is not there","hint":"h","exit_status":127}"#;
        let error = refusal(422, body);
        assert_eq!(error.exit().code(), 127);
        assert_eq!(error.render(), "error: `x` is not there\nhint: h\n");
    }
}
