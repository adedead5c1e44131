//! What is written of every decision, before the agent sees its effect.
//!
//! A request is one event when it is judged, and one when its response has ended; a refusal is one. When the event
//! file cannot be written nothing goes out: the caller answers as if the sandbox had no network. Only the figures of
//! a response that has ended may be a moment late (docs/decisions/0015).

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chiton_audit::{Decision, Event, EventId, Layer, LlmUse, Request, Response, Sink};
use chiton_policy::{
    ConnectIntent, ConnectKind, ConnectPermit, Denial, Intent, Provider, Reason, RequestPermit, RuleName,
};
use http::StatusCode;
use tokio::sync::Notify;

use crate::{
    accept::{Refused, Target},
    denials::{Denials, Told},
    dns::names::DnsName,
    spend,
};

/// How late the figures of a response may be written.
const DEFERRED: Duration = Duration::from_millis(20);

/// An event that says a name got a stand-in. Their order in the file is the table of stand-ins.
pub(crate) const STAND_IN: &str = "stand_in";

/// How often it is written that a name got none.
const NO_STAND_IN: Duration = Duration::from_secs(10);

/// The event file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the audit event file cannot be written: {0}")]
pub(crate) struct NotWritten(#[from] chiton_audit::SinkError);

/// Writes the events of one sandbox.
pub(crate) struct Events {
    sink: Mutex<Box<dyn Sink + Send>>,
    /// Something was deferred.
    deferred: Notify,
    sandbox: String,
    denied: AtomicU64,
    told: Denials,
    no_stand_in: Mutex<Option<Instant>>,
}

/// What a completion event says, beside the figures.
#[derive(Debug)]
pub(crate) struct Completion {
    intent: Intent,
    revision: u64,
    rule_name: Option<RuleName>,
    decision: Decision,
    provider: Option<Provider>,
    status: StatusCode,
}

impl Completion {
    /// Of a permit's exchange, answered with this status.
    pub(crate) fn of(permit: &RequestPermit, status: StatusCode) -> Self {
        Self {
            intent: permit.intent().clone(),
            revision: permit.revision(),
            rule_name: permit.rule().cloned(),
            decision: decision_of(permit),
            provider: permit.llm().map(|grant| grant.provider()),
            status,
        }
    }
}

/// The figures of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// When the first of them went to the agent.
    pub(crate) first_byte: Option<Duration>,
    /// When it ended.
    pub(crate) after: Duration,
}

fn decision_of(permit: &RequestPermit) -> Decision {
    if permit.audited().is_some() { Decision::Audit } else { Decision::Allow }
}

impl Events {
    /// Into this sink.
    pub(crate) fn new(sink: Box<dyn Sink + Send>, sandbox: String) -> Self {
        Self {
            sink: Mutex::new(sink),
            deferred: Notify::new(),
            sandbox,
            denied: AtomicU64::new(0),
            told: Denials::default(),
            no_stand_in: Mutex::new(None),
        }
    }

    /// The sandbox's name.
    pub(crate) fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// How much was refused so far.
    pub(crate) fn denied_so_far(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    fn write(&self, mut event: Event) -> Result<EventId, NotWritten> {
        event.sandbox = Some(self.sandbox.clone());
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).append(&event)?;
        Ok(event.id)
    }

    /// Of what nothing depends on any more: that it could not be written shows at the next decision.
    fn note(&self, event: Event) {
        let _ = self.write(event);
    }

    /// Figures, on which no effect depends: written with the next event, or [`DEFERRED`] later.
    fn defer(&self, mut event: Event) {
        event.sandbox = Some(self.sandbox.clone());
        if self.sink.lock().unwrap_or_else(PoisonError::into_inner).defer(&event).is_ok() {
            self.deferred.notify_one();
        }
    }

    /// Writes what was deferred, in time.
    pub(crate) async fn write_deferred(&self) {
        loop {
            self.deferred.notified().await;
            tokio::time::sleep(DEFERRED).await;
            // That it could not be written shows at the next decision.
            let _ = self.flush();
        }
    }

    /// Writes what was deferred.
    pub(crate) fn flush(&self) -> Result<(), NotWritten> {
        Ok(self.sink.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }

    /// A request was allowed, and may go upstream when this returns.
    pub(crate) fn allowed(&self, permit: &RequestPermit) -> Result<EventId, NotWritten> {
        let mut event = Event::new(layer_of(permit), "request");
        event.revision = Some(permit.revision());
        event.decision = Some(decision_of(permit));
        event.rule = permit.rule().map(|rule| rule.as_str().to_owned());
        if let Some(denial) = permit.audited() {
            event.reason = Some(denial.reason().as_str().into());
            event.rule = denial.rule().map(|rule| rule.as_str().to_owned());
        }
        event.binary = binary_of(permit.intent());
        event.request = Some(request_of(permit.intent()));
        event.llm = permit.llm().map(|grant| LlmUse {
            provider: Some(grant.provider().as_str().into()),
            backend: Some(grant.backend().to_string()),
            ..LlmUse::default()
        });
        self.write(event)
    }

    /// A model call may spend so much, and may go out when this returns.
    pub(crate) fn reserved(&self, permit: &RequestPermit, llm: LlmUse) -> Result<EventId, NotWritten> {
        let mut event = Event::new(Layer::Llm, spend::RESERVE);
        event.revision = Some(permit.revision());
        event.decision = Some(Decision::Allow);
        event.rule = permit.rule().map(|rule| rule.as_str().to_owned());
        event.binary = binary_of(permit.intent());
        event.request = Some(request_of(permit.intent()));
        event.llm = Some(llm);
        self.write(event)
    }

    /// How far a model call is that runs.
    pub(crate) fn progress(&self, llm: LlmUse) {
        let mut event = Event::new(Layer::Llm, spend::PROGRESS);
        event.llm = Some(llm);
        self.note(event);
    }

    /// What a model call cost that has no response.
    pub(crate) fn settled(&self, llm: LlmUse) {
        let mut event = Event::new(Layer::Llm, spend::SETTLE);
        event.llm = Some(llm);
        self.note(event);
    }

    /// A credential is added to a request.
    pub(crate) fn injected(&self, permit: &RequestPermit) -> Result<EventId, NotWritten> {
        let mut event = Event::new(Layer::Credential, "inject");
        event.revision = Some(permit.revision());
        event.decision = Some(Decision::Allow);
        event.rule = permit.rule().map(|rule| rule.as_str().to_owned());
        event.binary = binary_of(permit.intent());
        event.request = Some(request_of(permit.intent()));
        self.write(event)
    }

    /// A request was refused, and its answer may go to the agent when this returns. `answered`: what a forward proxy said.
    pub(crate) fn denied(
        &self,
        denial: &Denial,
        asked: Option<Request>,
        revision: u64,
        answered: Option<StatusCode>,
    ) -> Result<EventId, NotWritten> {
        self.denied_at(layer_of_denial(denial), denial, asked, (revision, answered))
    }

    /// A request to a model route was refused for a limit of the route.
    pub(crate) fn over_spent(&self, denial: &Denial, revision: u64) -> Result<EventId, NotWritten> {
        self.denied_at(Layer::Llm, denial, None, (revision, None))
    }

    fn denied_at(
        &self,
        layer: Layer,
        denial: &Denial,
        asked: Option<Request>,
        (revision, answered): (u64, Option<StatusCode>),
    ) -> Result<EventId, NotWritten> {
        self.denied.fetch_add(1, Ordering::Relaxed);
        let mut event = Event::new(layer, "request");
        event.revision = Some(revision);
        event.decision = Some(Decision::Deny);
        event.reason = Some(denial.reason().as_str().into());
        event.rule = denial.rule().map(|rule| rule.as_str().to_owned());
        event.binary = denial.intent().and_then(binary_of);
        event.request = denial.intent().map(request_of).or(asked);
        event.response = answered.map(status_alone);
        self.told.remember(&event, Some(denial));
        self.write(event)
    }

    /// The agent asks what it may, or what it was refused.
    pub(crate) fn asked(&self, intent: &Intent, revision: u64) -> Result<EventId, NotWritten> {
        let mut event = Event::new(Layer::Policy, "ask");
        event.revision = Some(revision);
        event.decision = Some(Decision::Allow);
        event.request = Some(request_of(intent));
        self.write(event)
    }

    /// What was refused lately.
    pub(crate) fn denials(&self) -> Vec<Told> {
        self.told.told()
    }

    /// A response has ended, or was given up.
    pub(crate) fn completed(&self, of: Completion, ended: Ended, llm: Option<LlmUse>) {
        let mut event =
            Event::new(if of.provider.is_some() { Layer::Llm } else { Layer::Network }, "response");
        event.revision = Some(of.revision);
        event.decision = Some(of.decision);
        event.rule = of.rule_name.map(|rule| rule.as_str().to_owned());
        event.binary = binary_of(&of.intent);
        event.request = Some(request_of(&of.intent));
        event.response = Some(Response {
            status: Some(of.status.as_u16()),
            sent: None,
            bytes: Some(ended.bytes),
            first_byte_us: ended.first_byte.filter(|_| of.provider.is_some()).and_then(micros),
            duration_us: micros(ended.after),
        });
        if let Some(provider) = of.provider {
            let plain = || LlmUse { provider: Some(provider.as_str().into()), ..LlmUse::default() };
            event.llm = Some(llm.unwrap_or_else(plain));
            // What it cost must not be lost, should the process be killed.
            return self.note(event);
        }
        self.defer(event);
    }

    /// A response went over a limit of its rule in the middle of its body, and is cut.
    pub(crate) fn over_limit(&self, of: &Completion, said: &str) {
        let denial = Denial::after_permit(Reason::LimitExceeded, of.rule_name.clone(), &of.intent, said);
        self.cut(&of.intent, Some(&denial), of.revision);
    }

    /// A running exchange ends because a new revision does not allow it, or not in this way.
    pub(crate) fn cut(&self, intent: &Intent, denial: Option<&Denial>, revision: u64) {
        let mut event = Event::new(Layer::Network, "cut");
        event.revision = Some(revision);
        event.decision = Some(Decision::Deny);
        event.reason = denial.map(|denial| denial.reason().as_str().into());
        event.rule = denial.and_then(|denial| denial.rule().map(|rule| rule.as_str().to_owned()));
        event.binary = binary_of(intent);
        event.request = Some(request_of(intent));
        self.note(event);
    }

    /// A connection was allowed, and may be dialled when this returns.
    pub(crate) fn connecting(&self, permit: &ConnectPermit) -> Result<EventId, NotWritten> {
        self.write(connection_event("connect", permit))
    }

    /// A connection was refused, and is reset. `answered`: what a forward proxy said.
    pub(crate) fn connection_denied(
        &self,
        intent: &ConnectIntent,
        denial: &Denial,
        revision: u64,
        answered: Option<StatusCode>,
    ) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        let mut event = Event::new(Layer::Network, "connect");
        event.revision = Some(revision);
        event.decision = Some(Decision::Deny);
        event.reason = Some(denial.reason().as_str().into());
        event.rule = denial.rule().map(|rule| rule.as_str().to_owned());
        event.binary = connected_by(intent);
        event.request = Some(request_of_connection(intent));
        event.response = answered.map(status_alone);
        self.note(event);
    }

    /// An allowed connection has ended: so many bytes came from the agent, and so many went to it.
    pub(crate) fn disconnected(&self, permit: &ConnectPermit, sent: u64, bytes: u64, duration: Duration) {
        let mut event = connection_event("disconnect", permit);
        event.response = Some(Response {
            status: None,
            sent: Some(sent),
            bytes: Some(bytes),
            first_byte_us: None,
            duration_us: micros(duration),
        });
        self.note(event);
    }

    /// A running connection ends because a new revision does not allow it, or not in this way.
    pub(crate) fn cut_connection(&self, intent: &ConnectIntent, denial: Option<&Denial>, revision: u64) {
        let mut event = Event::new(Layer::Network, "cut");
        event.revision = Some(revision);
        event.decision = Some(Decision::Deny);
        event.reason = denial.map(|denial| denial.reason().as_str().into());
        event.rule = denial.and_then(|denial| denial.rule().map(|rule| rule.as_str().to_owned()));
        event.binary = connected_by(intent);
        event.request = Some(request_of_connection(intent));
        self.note(event);
    }

    /// A name gets a stand-in, when this was written.
    pub(crate) fn stand_in(&self, name: &DnsName) -> Result<EventId, NotWritten> {
        let mut event = Event::new(Layer::Network, STAND_IN);
        event.decision = Some(Decision::Allow);
        event.request = Some(Request {
            scheme: Some("dns".into()),
            host: Some(name.as_str().to_owned()),
            ..Request::default()
        });
        self.write(event)
    }

    /// A name gets no stand-in: there are too many. Written at once, then every ten seconds at most: questions are
    /// cheap.
    pub(crate) fn no_stand_in(&self, name: &DnsName) {
        let mut last = self.no_stand_in.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= NO_STAND_IN) {
            *last = Some(Instant::now());
            let host = Some(name.as_str().to_owned());
            self.refused("no_stand_in", "dns", host, None, Some(Reason::LimitExceeded));
        }
    }

    /// A connection to an address that stands for no name of this sandbox.
    pub(crate) fn unknown_destination(&self, to: SocketAddr) {
        self.refused(
            "connect",
            "tcp",
            Some(to.ip().to_string()),
            Some(to.port()),
            Some(Reason::HostNotAllowed),
        );
    }

    /// A connection that ends before any request was read, or for one that cannot be.
    pub(crate) fn refused_connection(&self, target: &Target, why: Refused) {
        let (action, reason) = match why {
            Refused::EncryptedName | Refused::OtherName => ("connect", Some(Reason::AmbiguousRequest)),
            Refused::NoProtocol => ("connect", Some(Reason::SchemeNotAllowed)),
            Refused::UnknownHost => ("connect", Some(Reason::HostNotAllowed)),
            // The agent's own program ended it: most often it does not trust the sandbox's authority.
            Refused::Handshake => ("tls_handshake", None),
            Refused::Malformed => ("connect", Some(Reason::AmbiguousRequest)),
            Refused::TooLarge | Refused::TooSlow | Refused::TooMuch => {
                ("connect", Some(Reason::LimitExceeded))
            }
        };
        self.refused(action, "tcp", Some(target.host.to_string()), Some(target.port), reason);
    }

    /// The packet filter dropped something.
    pub(crate) fn dropped(&self, scheme: &'static str, to: Option<String>, port: Option<u16>) {
        self.refused("packet", scheme, to, port, Some(Reason::SchemeNotAllowed));
    }

    fn refused(
        &self,
        action: &'static str,
        scheme: &'static str,
        host: Option<String>,
        port: Option<u16>,
        reason: Option<Reason>,
    ) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        let mut event = Event::new(Layer::Network, action);
        event.decision = Some(Decision::Deny);
        event.reason = reason.map(|reason| reason.as_str().into());
        event.request = Some(Request { scheme: Some(scheme.into()), host, port, ..Request::default() });
        self.told.remember(&event, None);
        self.note(event);
    }
}

/// Which layer refused, as the reason tells.
fn layer_of_denial(denial: &Denial) -> Layer {
    match denial.reason() {
        Reason::CredentialUnavailable => Layer::Credential,
        Reason::ModelNotAllowed | Reason::Untranslatable => Layer::Llm,
        Reason::AmbiguousRequest
        | Reason::HostNotAllowed
        | Reason::SchemeNotAllowed
        | Reason::PortNotAllowed
        | Reason::BinaryNotAllowed
        | Reason::DeniedByRule
        | Reason::MethodNotAllowed
        | Reason::PathNotAllowed
        | Reason::QueryNotAllowed
        | Reason::PrivateAddress
        | Reason::UpstreamTls
        | Reason::UpstreamProxy
        | Reason::LimitExceeded => Layer::Network,
    }
}

fn layer_of(permit: &RequestPermit) -> Layer {
    if permit.llm().is_some() { Layer::Llm } else { Layer::Network }
}

/// Who asked, where that was told.
fn binary_of(intent: &Intent) -> Option<String> {
    intent.binary().map(|binary| binary.shown().to_owned())
}

fn status_alone(status: StatusCode) -> Response {
    Response { status: Some(status.as_u16()), ..Response::default() }
}

fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

fn connection_event(action: &'static str, permit: &ConnectPermit) -> Event {
    let mut event = Event::new(Layer::Network, action);
    event.revision = Some(permit.revision());
    event.decision = Some(if permit.audited().is_some() { Decision::Audit } else { Decision::Allow });
    event.reason = permit.audited().map(|denial| denial.reason().as_str().into());
    let nearest = permit.audited().and_then(Denial::rule);
    event.rule = permit.rule().or(nearest).map(|rule| rule.as_str().to_owned());
    event.binary = connected_by(permit.intent());
    event.request = Some(request_of_connection(permit.intent()));
    event
}

/// Who connected, where that was told.
fn connected_by(intent: &ConnectIntent) -> Option<String> {
    intent.binary().map(|binary| binary.shown().to_owned())
}

fn request_of_connection(intent: &ConnectIntent) -> Request {
    Request {
        scheme: Some(match intent.kind() {
            ConnectKind::Tcp => "tcp".into(),
            ConnectKind::Tls => "tls".into(),
        }),
        host: Some(intent.host().to_string()),
        port: Some(intent.port().get()),
        ..Request::default()
    }
}

/// What is kept of a judged request.
fn request_of(intent: &Intent) -> Request {
    let request = Request {
        method: Some(intent.method().as_str().to_owned()),
        scheme: Some(intent.scheme().as_str().into()),
        host: Some(intent.host().to_string()),
        port: Some(intent.port().get()),
        path: Some(intent.path().to_owned()),
        ..Request::default()
    };
    match intent.query() {
        Some(query) => request.with_query(query),
        None => request,
    }
}
