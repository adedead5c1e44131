//! From what a codec read to what the policy judges, and from a permit to where it leads.

use std::fmt;

use bytes::Bytes;
use chiton_policy::{
    Ambiguity, Ambiguous, Binary, Denial, Host, IncomingRequest, Intent, Reason, RequestPermit, Scheme,
    asks_for_another_method, may_be_read_as_framing,
};
use chiton_secret::SecretValue;
use http::header;

use crate::{message::Request, service::Arrival, upstream::pool::Identity};

/// The intent of a request, or why it has none. `binary`: who asks, where that matters.
pub(crate) fn intent(
    arrival: &Arrival,
    request: &Request,
    binary: Option<&Binary>,
) -> Result<Intent, Denial> {
    if let Some(why) = request.ambiguity {
        return Err(Denial::of_connection(
            Reason::AmbiguousRequest,
            format!("the request is refused: {why}"),
        ));
    }
    let hosts: Vec<&[u8]> =
        request.headers.get_all(header::HOST).iter().map(|host| host.as_bytes()).collect();
    // HTTP/1.0 may leave `Host` out; the name that the agent resolved stands for it.
    let nameless = (hosts.is_empty() && request.authority.is_none()).then(|| arrival.target.host.to_string());
    let incoming = IncomingRequest {
        scheme: arrival.scheme,
        port: arrival.target.port,
        server_name: arrival.server_name.as_deref(),
        authority: request.authority.as_deref().or(nameless.as_deref()).map(str::as_bytes),
        host_headers: &hosts,
        method: request.method.as_str().as_bytes(),
        target: &request.target,
        method_override: request.headers.keys().any(|name| asks_for_another_method(name.as_str())),
        // Fields that are spelled as they should be were read, and do not conflict.
        framing_conflict: request.headers.keys().any(|name| may_be_read_as_framing(name.as_str())),
        binary,
    };
    let intent = Intent::from_parts(&incoming)?;
    // The name that was resolved to reach us must be the name that is asked for.
    match &arrival.target.host {
        Host::Name(_) if arrival.target.host != *intent.host() => {
            Err(Ambiguous(Ambiguity::HostConflict).into())
        }
        Host::Name(_) | Host::Ip(_) => Ok(intent),
    }
}

/// The name of a parameter that cannot be left out.
pub(crate) struct OtherParameter(pub(crate) String);

/// Path and query as they are sent. A credential may stand in it, so that it is never shown.
#[derive(Clone)]
pub(crate) struct SentTarget(Bytes);

impl SentTarget {
    /// A permit's own.
    pub(crate) fn of(permit: &RequestPermit) -> Self {
        Self(Bytes::copy_from_slice(permit.path_and_query().as_bytes()))
    }

    /// The same without the caller's credentials, and without the parameter `own`.
    pub(crate) fn stripped(intent: &Intent, own: Option<&str>) -> Self {
        let query = intent.query().map(|query| chiton_llm::strip_query(query, own)).unwrap_or_default();
        Self::with_query(intent.path(), &query)
    }

    /// A path with this query, which holds none of the caller's.
    pub(crate) fn with_query(path: &str, query: &str) -> Self {
        let mark = if query.is_empty() { "" } else { "?" };
        Self(Bytes::from(format!("{path}{mark}{query}")))
    }

    /// The path alone, where the query has none but these parameters.
    pub(crate) fn without_query(intent: &Intent, but: &[&str]) -> Result<Self, OtherParameter> {
        let query = intent.query().map(|query| chiton_llm::strip_query(query, None)).unwrap_or_default();
        let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        match names.filter(|name| !name.is_empty()).find(|name| !but.contains(name)) {
            Some(other) => Err(OtherParameter(other.to_owned())),
            None => Ok(Self(Bytes::copy_from_slice(intent.path().as_bytes()))),
        }
    }

    /// Adds a parameter with a value that is percent-encoded already.
    pub(crate) fn append(&mut self, name: &str, value: &SecretValue) {
        let mark: &[u8] = if self.0.contains(&b'?') { b"&" } else { b"?" };
        self.0 = [&*self.0, mark, name.as_bytes(), b"=", value.dangerous_expose()].concat().into();
    }

    /// What is sent, and never shown.
    pub(crate) const fn dangerous_expose(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for SentTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.split(|byte| *byte == b'?').next().unwrap_or_default();
        write!(f, "SentTarget({}…)", String::from_utf8_lossy(path))
    }
}

/// Where a permit leads, and what is sent there. Whoever dials or sends takes one.
#[derive(Debug)]
pub(crate) struct Route {
    /// The permit.
    pub(crate) permit: RequestPermit,
    /// The scheme.
    pub(crate) scheme: Scheme,
    /// The host to dial and to verify.
    pub(crate) host: Host,
    /// The port to dial.
    pub(crate) port: u16,
    /// The value of `Host`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: SentTarget,
    /// It is a call of gRPC, which is of HTTP/2 alone.
    pub(crate) grpc: bool,
}

impl Route {
    /// Of a permit. `target` is its own path and query, or the same with the caller's credentials replaced.
    pub(crate) fn new(permit: RequestPermit, target: SentTarget) -> Self {
        Self {
            scheme: permit.scheme(),
            host: permit.host().clone(),
            port: permit.port().get(),
            authority: permit.authority(),
            target,
            permit,
            grpc: false,
        }
    }

    /// Whether its server is taken to speak HTTP/2 without having said so, where TLS cannot ask (docs/decisions/0046).
    pub(crate) const fn knows_http2(&self) -> bool {
        match self.scheme {
            Scheme::Http => self.grpc,
            Scheme::Https => false,
        }
    }

    /// Whose connections it may use.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            scheme: self.scheme,
            host: self.host.clone(),
            port: self.port,
            knows_http2: self.knows_http2(),
            rule: self.permit.rule().cloned(),
            revision: self.permit.revision(),
            worker: std::thread::current().id(),
        }
    }
}
