//! Whom a request is for: `Host`, authority, absolute form and server name must all say the same.

use super::{Ambiguity, IncomingRequest};
use crate::names::{Host, Port, Scheme};

/// The one host and port that every part of the request agrees on.
pub(super) fn agree(
    incoming: &IncomingRequest<'_>,
    from_target: Option<&[u8]>,
) -> Result<(Host, Port), Ambiguity> {
    if incoming.host_headers.len() > 1 {
        return Err(Ambiguity::ManyHosts);
    }
    let connected = Port::new(incoming.port).ok_or(Ambiguity::Port)?;
    let mut agreed: Option<Host> = None;
    let named = [from_target, incoming.authority, incoming.host_headers.first().copied()];
    for text in named.into_iter().flatten() {
        let host = read(text, incoming.scheme, connected)?;
        match &agreed {
            Some(other) if *other != host => return Err(Ambiguity::HostConflict),
            Some(_) => {}
            None => agreed = Some(host),
        }
    }
    let host = agreed.ok_or(Ambiguity::NoHost)?;
    if let Some(server_name) = incoming.server_name {
        let server = Host::parse(server_name).map_err(Ambiguity::BadHost)?;
        if server != host {
            return Err(Ambiguity::ServerName);
        }
    }
    Ok((host, connected))
}

/// A port that is named must be the one that was connected to. One that is not named stands for it: clients
/// leave it out, and the canonical form names it again.
fn read(text: &[u8], scheme: Scheme, connected: Port) -> Result<Host, Ambiguity> {
    let (host, port_text) = split(text)?;
    if let Some(digits) = port_text {
        let empty = digits.is_empty() && connected == scheme.default_port();
        if !empty && port(digits) != Some(connected) {
            return Err(Ambiguity::Port);
        }
    }
    Host::parse(host).map_err(Ambiguity::BadHost)
}

/// Splits host and port.
pub(super) fn split(text: &[u8]) -> Result<(&str, Option<&str>), Ambiguity> {
    let text =
        std::str::from_utf8(text).map_err(|_| Ambiguity::BadHost(crate::names::HostError::NotAName))?;
    if text.contains('@') {
        return Err(Ambiguity::User);
    }
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let colon = text.get(after_bracket..).and_then(|rest| rest.find(':'));
    Ok(match colon {
        Some(at) => {
            let (host, port) = text.split_at_checked(after_bracket + at).unwrap_or((text, ""));
            (host, port.get(1..))
        }
        None => (text, None),
    })
}

/// A port in plain decimal.
pub(super) fn port(digits: &str) -> Option<Port> {
    let plain = digits.len() <= 5 && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).and_then(Port::new)
}
