//! A request as one line, as `policy explain` and the vectors write it.

use super::{Ambiguity, Ambiguous, IncomingRequest, Intent, authority};
use crate::{binary::Binary, names::Scheme};

/// Why a line is not judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestLineError {
    /// It is not of the form at all.
    #[error("`{0}` is not a request: write it as `GET https://api.example.com/path`")]
    NotARequest(String),
    /// It is, and refused.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
}

pub(super) fn read(text: &str, binary: Option<&Binary>) -> Result<Intent, RequestLineError> {
    let no_request = || RequestLineError::NotARequest(text.escape_debug().to_string());
    let (method, url) = text.split_once(' ').ok_or_else(no_request)?;
    let (scheme, rest) = url.split_once("://").ok_or_else(no_request)?;
    let scheme = Scheme::ALL
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        .ok_or_else(no_request)?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).ok_or_else(no_request)?;
    if method.is_empty() || authority.is_empty() {
        return Err(no_request());
    }
    let rooted = if target.starts_with(['/', '\\']) { target.to_owned() } else { format!("/{target}") };
    // The port that a client would connect to is the one in the URL.
    let (_, port) = authority::split(authority.as_bytes()).map_err(Ambiguous)?;
    let port = match port {
        Some(digits) => authority::port(digits).ok_or(Ambiguous(Ambiguity::Port))?,
        None => scheme.default_port(),
    };
    let incoming = IncomingRequest {
        scheme,
        port: port.get(),
        server_name: None,
        authority: Some(authority.as_bytes()),
        host_headers: &[],
        method: method.as_bytes(),
        target: rooted.as_bytes(),
        method_override: false,
        framing_conflict: false,
        binary,
    };
    Ok(Intent::from_parts(&incoming)?)
}
