//! Header fields that are about one hop, or about who asks.

use http::{HeaderMap, HeaderName, header};

/// Removes what belongs to the connection and not to the message (RFC 9110, 7.6.1), and what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 9] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    if let Some(named) = named_by_connection(headers) {
        for name in named {
            headers.remove(name);
        }
    }
    remove_all(headers, &NAMES);
}

/// Removes fields of which most messages have none: to look through the few that there are is less than to ask for each.
pub(crate) fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        if headers.keys().any(|key| key == name) {
            headers.remove(name);
        }
    }
}

fn named_by_connection(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    headers.contains_key(header::CONNECTION).then(|| {
        let values = headers.get_all(header::CONNECTION).iter();
        let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        names
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !load_bearing(name))
            .collect()
    })
}

/// Fields that a `Connection` header must not be able to take away from a judged message.
fn load_bearing(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING].contains(name)
        || carries_credential(name)
}

/// Whether a field is where programs put credentials.
pub(crate) fn carries_credential(name: &HeaderName) -> bool {
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"]
        .contains(&name.as_str())
}

/// Whether the sender takes trailers (`TE: trailers`), the one hop field gRPC needs on both sides.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Removes what would lead the agent astray: HTTP/3, which it cannot reach, and refusals that are not ours.
pub(crate) fn strip_misleading(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 2] = [header::ALT_SVC, HeaderName::from_static("x-chiton-denied")];
    remove_all(headers, &NAMES);
}
