//! One request, from what was read to what is answered.
//!
//! The order is the security: canonical form → decision, under the lock that a new revision takes → event written →
//! credentials out and in → forward → response cleaned → head passed on. A refusal at any step sends nothing.

mod attempt;

use std::{pin::pin, sync::Arc, time::Duration};

use chiton_audit::{self as audit, EventId};
use chiton_policy::{Denial, Reason, Scheme};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use crate::{
    accept::{Refused, Target},
    events::{Completion, NotWritten},
    headers,
    inject::{self, Prepared},
    internal,
    judge::{self, Route},
    message::{Aborted, Last, Request, Response, ResponseBody, Unprocessed},
    proxied::{self, Asked},
    refuse::{self, Said},
    running::{Admission, Admitted, Exchange, TooMany},
    state::Proxy,
    upstream::{
        dial::DialError,
        forward::{ForwardError, UpstreamBody},
        relay::RelayedBody,
    },
    websocket::{self, Ask, OpenError, Opened, Relay},
};

/// Answers requests; what every codec serves.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one. It is on the heap, since it is handed from one step to the next, and each would keep room for it.
    fn call(&self, request: Box<Request>) -> impl Future<Output = Result<Response, Aborted>> + Send;

    /// Writes down that a request was not even read. The codec answers it.
    fn not_read(&self, why: Refused);
}

/// How a connection came to us: what every request on it must agree with.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// What the agent connected to.
    pub(crate) target: Target,
    /// Over TLS or in the clear.
    pub(crate) scheme: Scheme,
    /// The server name of its TLS.
    pub(crate) server_name: Option<String>,
}

/// Serves the requests of one connection.
pub(crate) struct Service {
    proxy: Arc<Proxy>,
    arrival: Arrival,
    connection: CancellationToken,
    may_be_proxy: bool,
}

impl Service {
    /// For a connection; `connection` is rung to end it.
    pub(crate) fn new(proxy: Arc<Proxy>, arrival: Arrival, connection: CancellationToken) -> Self {
        Self { proxy, arrival, connection, may_be_proxy: false }
    }

    /// The agent may take what it connected to for a proxy.
    pub(crate) fn maybe_to_proxy(self) -> Self {
        Self { may_be_proxy: true, ..self }
    }

    /// What a request asks of a proxy, where its connection can be one to a proxy at all.
    fn asked_of_proxy(&self, request: &Request) -> Asked {
        let named = || self.proxy.running.revision().compiled.could_allow(&self.arrival.target.host);
        if self.may_be_proxy && !named() {
            proxied::asked(&self.proxy, request, &self.arrival.target.connection)
        } else {
            Asked::Nothing
        }
    }

    async fn serve(&self, request: Box<Request>) -> Result<Response, Aborted> {
        let forwarded = match self.asked_of_proxy(&request) {
            Asked::Tunnel(target) => return Ok(http::Response::new(ResponseBody::Connected(target))),
            Asked::Forward(arrival) => Some(arrival),
            Asked::Nothing => None,
        };
        let arrival = forwarded.as_ref().unwrap_or(&self.arrival);
        let revision = self.proxy.running.revision();
        let binary = self.proxy.who_asks(&arrival.target, &revision).await;
        let intent = match judge::intent(arrival, &request, binary.as_ref()) {
            Ok(intent) => intent,
            Err(denial) => {
                return Ok(self.refuse(&denial, Some(asked(arrival, &request)), revision.number));
            }
        };
        if internal::is_asked(&intent) {
            return Ok(internal::answer(&self.proxy, &intent));
        }
        match self.proxy.running.admit(&intent, request.websocket.is_some(), &self.connection) {
            Admission::Refused(denial, revision) => Ok(self.refuse(&denial, None, revision.number)),
            Admission::TooMany(too_many) => {
                let TooMany { denial, revision, wait, llm } = *too_many;
                if llm {
                    return Ok(self.limited(&denial, revision.number, Some(wait)));
                }
                let mut response = self.refuse(&denial, None, revision.number);
                response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
                Ok(response)
            }
            Admission::Admitted(admitted) => self.admitted(admitted, request).await,
        }
    }

    async fn admitted(
        &self,
        admitted: Box<Admitted>,
        mut request: Box<Request>,
    ) -> Result<Response, Aborted> {
        let Admitted { permit, revision, .. } = &*admitted;
        if let Some(most) = permit.most_of_request().filter(|most| request.body.size_hint().lower() > *most) {
            let said = format!(
                "the body of the request is longer than the {most} bytes of the rule's `request_body`"
            );
            let rule = permit.rule().cloned();
            let denial = Denial::after_permit(Reason::LimitExceeded, rule, permit.intent(), said);
            return Ok(self.refuse(&denial, None, revision.number));
        }
        if let Err(error) = self.proxy.events.allowed(permit) {
            return Ok(unwritten(&error));
        }
        if let Some(ask) = request.websocket.take() {
            return Box::pin(self.upgrade(*admitted, ask, request)).await;
        }
        let response = self.send(admitted, request).await?;
        inject::translate::finish(response).await
    }

    /// Opens a WebSocket that was admitted.
    async fn upgrade(
        &self,
        admitted: Admitted,
        ask: Ask,
        request: Box<Request>,
    ) -> Result<Response, Aborted> {
        let Admitted { permit, revision, exchange } = admitted;
        let prepared = {
            let prepare = pin!(inject::prepare(self.before(), &permit, &revision, request));
            attempt::until(exchange.over(), prepare).await?
        };
        match prepared {
            Ok(Prepared { headers, target, cleaning, .. }) => {
                self.open(&Route::new(permit, target), ask, headers, cleaning, exchange).await
            }
            Err(refusal) => self.not_sent(refusal, &revision),
        }
    }

    /// Where it is written what a request is given.
    fn before(&self) -> inject::Before<'_> {
        inject::Before { events: &self.proxy.events, spend: &self.proxy.spend }
    }

    /// Opens a WebSocket, or passes on why the server does not.
    async fn open(
        &self,
        route: &Route,
        ask: Ask,
        headers: HeaderMap,
        cleaning: Option<inject::Cleaning>,
        mut exchange: Exchange,
    ) -> Result<Response, Aborted> {
        let redactors = cleaning.as_ref().and_then(inject::Cleaning::redactors);
        // What comes back must be readable where a credential has to be taken out of it.
        let extensions = redactors.is_none();
        let over = exchange.over().clone();
        let opened = tokio::select! {
            biased;
            () = over.cancelled() => return Err(Aborted),
            opened = websocket::open(&self.proxy.upstream.dialler, route, headers, extensions) => opened,
        };
        match opened {
            Ok(Opened::Switched(answer, agreed, stream)) => {
                let mut headers = ask.answer(answer);
                headers::strip_misleading(&mut headers);
                if let Some(redactors) = &redactors {
                    redactors.scrub_headers(&mut headers);
                }
                let status = if ask.is_http2() { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
                exchange.completes_as(Completion::of(&route.permit, StatusCode::SWITCHING_PROTOCOLS));
                let relay = Box::new(Relay::new(stream, agreed, redactors, exchange));
                let mut response = http::Response::new(ResponseBody::Switched(relay));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
            // Over HTTP/2 any success would open a stream that nobody serves.
            Ok(Opened::Answered(response)) if ask.is_http2() && response.status().is_success() => {
                let said = format!(
                    "`{}` did not open the WebSocket, and answered {}",
                    route.host,
                    response.status()
                );
                exchange.completes_as(Completion::of(&route.permit, StatusCode::BAD_GATEWAY));
                Ok(refuse::plain(StatusCode::BAD_GATEWAY, &said))
            }
            Ok(Opened::Answered(response)) => {
                Ok(relay(route, response.map(|body| UpstreamBody::Hyper(body, None)), cleaning, exchange))
            }
            Err(OpenError::Dial(error)) => Ok(self.failed(route, &error.into(), &mut exchange)),
            Err(error) => {
                exchange.completes_as(Completion::of(&route.permit, StatusCode::BAD_GATEWAY));
                Ok(refuse::plain(StatusCode::BAD_GATEWAY, &error.to_string()))
            }
        }
    }

    /// The answer where there is no response: a refusal where the address or the certificate was at fault.
    fn failed(&self, route: &Route, error: &ForwardError, exchange: &mut Exchange) -> Response {
        let mut answered = None;
        if matches!(error, ForwardError::Dial(_) | ForwardError::Target | ForwardError::Unprocessed { .. }) {
            exchange.not_sent();
        }
        let (reason, status) = match error {
            ForwardError::Dial(
                DialError::PrivateAddress { .. } | DialError::PrivateName { .. } | DialError::Closed { .. },
            ) => (Reason::PrivateAddress, StatusCode::FORBIDDEN),
            ForwardError::OverLimit(_) => (Reason::LimitExceeded, StatusCode::FORBIDDEN),
            ForwardError::Dial(DialError::Tls { .. }) => (Reason::UpstreamTls, StatusCode::BAD_GATEWAY),
            ForwardError::Dial(DialError::Via { why, .. }) => {
                answered = why.status();
                (Reason::UpstreamProxy, StatusCode::BAD_GATEWAY)
            }
            ForwardError::Unprocessed { .. } => {
                exchange.completes_as(Completion::of(&route.permit, StatusCode::BAD_GATEWAY));
                let mut response = refuse::plain(StatusCode::BAD_GATEWAY, &error.to_string());
                response.extensions_mut().insert(Unprocessed);
                return response;
            }
            ForwardError::Dial(DialError::Resolve(_) | DialError::Connect { .. })
            | ForwardError::Upstream { .. }
            | ForwardError::Target
            | ForwardError::Switched(_) => {
                exchange.completes_as(Completion::of(&route.permit, StatusCode::BAD_GATEWAY));
                return refuse::plain(StatusCode::BAD_GATEWAY, &error.to_string());
            }
        };
        let permit = &route.permit;
        let denial = Denial::after_permit(reason, permit.rule().cloned(), permit.intent(), error.to_string());
        let event = self.proxy.events.denied(&denial, None, permit.revision(), answered);
        self.refuse_as(&denial, event, status)
    }

    /// A limit of a model route: programs that call models wait where the answer is 429.
    fn limited(&self, denial: &Denial, revision: u64, wait: Option<Duration>) -> Response {
        let event = self.proxy.events.over_spent(denial, revision);
        let status = if wait.is_some() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::FORBIDDEN };
        let mut response = self.refuse_as(denial, event, status);
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        response
    }

    fn refuse(&self, denial: &Denial, asked: Option<audit::Request>, revision: u64) -> Response {
        let event = self.proxy.events.denied(denial, asked, revision, None);
        self.refuse_as(denial, event, StatusCode::FORBIDDEN)
    }

    fn refuse_as(&self, denial: &Denial, event: Result<EventId, NotWritten>, status: StatusCode) -> Response {
        let event = match event {
            Ok(event) => event.to_string(),
            Err(error) => return unwritten(&error),
        };
        let mut response = refuse::refusal(&Said {
            reason: denial.reason().as_str(),
            status,
            detail: &denial.detail(),
            rule: denial.rule().map(|rule| rule.as_str()),
            sandbox: self.proxy.events.sandbox(),
            event: &event,
            suggestion: denial.suggestion().as_deref(),
        });
        if denial.reason() == Reason::AmbiguousRequest {
            response.extensions_mut().insert(Last);
        }
        response
    }
}

/// What is known of a request that has no canonical form.
fn asked(arrival: &Arrival, request: &Request) -> audit::Request {
    let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    audit::Request {
        method: Some(request.method.as_str().to_owned()),
        scheme: Some(arrival.scheme.as_str().into()),
        host: Some(arrival.target.host.to_string()),
        port: Some(arrival.target.port),
        path: Some(refuse::quoted(path)),
        ..audit::Request::default()
    }
}

impl Handler for Service {
    async fn call(&self, request: Box<Request>) -> Result<Response, Aborted> {
        let grpc = refuse::is_grpc(&request);
        let mut response = self.serve(request).await?;
        if grpc {
            refuse::tell_grpc(&mut response);
        }
        Ok(response)
    }

    fn not_read(&self, why: Refused) {
        self.proxy.events.refused_connection(&self.arrival.target, why);
    }
}

fn unwritten(error: &NotWritten) -> Response {
    refuse::plain(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// Why a response is not begun: it says that it is longer than its rule allows.
fn too_long(route: &Route, body: &UpstreamBody) -> Option<Denial> {
    let most = route.permit.most_of_response().filter(|most| body.size_hint().lower() > *most)?;
    let said = format!("the response is longer than the {most} bytes of the rule's `response_body`");
    let permit = &route.permit;
    Some(Denial::after_permit(Reason::LimitExceeded, permit.rule().cloned(), permit.intent(), said))
}

/// Passes a response on: its head now, its body as it comes.
fn relay(
    route: &Route,
    answered: http::Response<UpstreamBody>,
    cleaning: Option<inject::Cleaning>,
    mut exchange: Exchange,
) -> Response {
    let (mut parts, body) = answered.into_parts();
    exchange.answered(parts.status);
    if parts.status == StatusCode::UNAUTHORIZED {
        exchange.rejected(&route.permit);
    }
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::strip_misleading(&mut parts.headers);
    // Of what HEAD asks about: nothing of it comes that could be made shorter.
    let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
    let length = length.filter(|_| route.permit.method().as_str() == "HEAD");
    let (cleaner, whole) = match cleaning.map(|cleaning| cleaning.begin(&mut parts)).transpose() {
        Ok(Some((cleaner, whole))) => (Some(Box::new(cleaner)), whole),
        Ok(None) => (None, None),
        Err(error) => {
            exchange.completes_as(Completion::of(&route.permit, StatusCode::BAD_GATEWAY));
            return refuse::plain(StatusCode::BAD_GATEWAY, &error.to_string());
        }
    };
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    exchange.completes_as(Completion::of(&route.permit, parts.status));
    let mut response = http::Response::new(ResponseBody::Relayed(Box::new(RelayedBody::new(
        body,
        cleaner,
        route.permit.most_of_response(),
        exchange,
    ))));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    if let Some(whole) = whole {
        response.extensions_mut().insert(whole);
    }
    response
}
