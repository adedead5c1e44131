//! Requests of programs that were told to use a proxy (architecture.md, flow 2: any way in becomes one intent).
//!
//! A program with `HTTP_PROXY=http://anything:3128` connects there and says `CONNECT host:443`, or sends a request with
//! an absolute target. Both count as if it had connected to that host itself: where it connected is not dialled, no
//! name is looked up, and everything after the first line is read by the same code. It is so only on a connection in
//! the clear, HTTP/1, to a host that no rule could allow, and never within a tunnel: to a host that a rule names a
//! target for another host is what two servers could read differently, and stays refused.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use chiton_policy::{Host, Scheme};
use http::{Method, header};

use crate::{
    accept::Target,
    message::{Request, RequestBody},
    owners::Connection,
    service::Arrival,
    state::Proxy,
};

/// What a request on a connection to a proxy asks of it.
pub(crate) enum Asked {
    /// A tunnel to a host.
    Tunnel(Target),
    /// To pass the request on, as if it had come by a connection of its own.
    Forward(Arrival),
    /// Nothing that a proxy does; it is judged as it is.
    Nothing,
}

/// Reads what a request asks of a proxy. What is not well-formed asks nothing, and is refused by its judgement.
pub(crate) fn asked(proxy: &Proxy, request: &Request, connection: &Arc<Connection>) -> Asked {
    if request.ambiguity.is_some() || request.authority.is_some() {
        return Asked::Nothing;
    }
    if request.method == Method::CONNECT {
        return tunnel(proxy, request, connection).map_or(Asked::Nothing, Asked::Tunnel);
    }
    let Some(authority) = absolute_authority(&request.target) else { return Asked::Nothing };
    let Some(target) = target(proxy, &authority, Some(Scheme::Http.default_port().get()), connection) else {
        return Asked::Nothing;
    };
    Asked::Forward(Arrival { target, scheme: Scheme::Http, server_name: None })
}

/// `CONNECT host:port`, which `Host` repeats, without a body.
fn tunnel(proxy: &Proxy, request: &Request, connection: &Arc<Connection>) -> Option<Target> {
    let target = target(proxy, &request.target, None, connection)?;
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let agrees = hosts.all(|host| {
        // Some clients leave the port out of `Host`.
        split(host.as_bytes(), Some(target.port))
            .is_some_and(|(host, port)| host == named(&request.target) && port == target.port)
    });
    (agrees && matches!(request.body, RequestBody::Empty)).then_some(target)
}

fn named(target: &Bytes) -> Host {
    let nowhere = || Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    split(target, None).map_or_else(nowhere, |(host, _)| host)
}

/// The authority of `http://authority/…`.
fn absolute_authority(target: &Bytes) -> Option<Bytes> {
    const SCHEME: &[u8] = b"http://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    Some(target.slice_ref(rest.get(..end)?))
}

/// Where an authority leads: a stand-in means its name, as everywhere.
fn target(
    proxy: &Proxy,
    authority: &[u8],
    default_port: Option<u16>,
    connection: &Arc<Connection>,
) -> Option<Target> {
    let connection = connection.clone();
    match split(authority, default_port)? {
        (Host::Ip(address), port) => Target::of(SocketAddr::new(address, port), proxy, connection),
        (host @ Host::Name(_), port) => Some(Target { host, port, connection }),
    }
}

fn split(authority: &[u8], default_port: Option<u16>) -> Option<(Host, u16)> {
    let text = std::str::from_utf8(authority).ok()?;
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text.get(after_bracket..)?.rfind(':') {
        Some(colon) => {
            let (host, port) = text.split_at_checked(after_bracket + colon)?;
            (host, digits(port.get(1..)?)?)
        }
        None => (text, default_port?),
    };
    Some((Host::parse(host).ok()?, port))
}

fn digits(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let name = |text: &str| Host::parse(text).unwrap();
        for (text, default, wanted) in [
            ("api.test:443", None, Some(("api.test", 443))),
            ("API.test.:443", None, Some(("api.test", 443))),
            ("api.test", Some(80), Some(("api.test", 80))),
            ("[::1]:80", None, Some(("[::1]", 80))),
            ("10.0.0.1:8080", None, Some(("10.0.0.1", 8080))),
            ("api.test", None, None),
            ("api.test:", Some(80), None),
            ("api.test:0443", None, None),
            ("api.test:0", None, None),
            ("api.test:65536", None, None),
            ("api.test:+443", None, None),
            ("user@api.test:443", None, None),
            ("api.test:443:443", None, None),
            ("a b:443", None, None),
            (":443", None, None),
        ] {
            let wanted = wanted.map(|(host, port)| (name(host), port));
            assert_eq!(split(text.as_bytes(), default), wanted, "{text}");
        }
        assert_eq!(absolute_authority(&Bytes::from("HTTP://a.test?x")).unwrap(), "a.test");
        assert_eq!(absolute_authority(&Bytes::from("https://a.test/")), None);
        assert_eq!(absolute_authority(&Bytes::from("/http://a.test/")), None);
    }
}
