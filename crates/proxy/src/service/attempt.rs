//! One call at its backend and, where that does not serve it, at the fallbacks of its route.
//!
//! Comes in: an admitted request and its permit. Goes out: the answer that is passed on, of which nothing has gone to
//! the agent yet. Each try has a permit, an event and a credential of its own, and is prepared from what the agent
//! sent, never from what another backend was sent.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use chiton_policy::RequestPermit;
use http::StatusCode;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{Service, relay, too_long, unwritten};
use crate::{
    events::Completion,
    inject::{self, Prepared},
    judge::Route,
    message::{Aborted, Request, RequestBody, Response, Unprocessed},
    refuse,
    revision::Revision,
    running::{Admitted, Exchange, TooMany},
    spend::Charge,
    upstream::forward::{ForwardError, OutgoingHead, UpstreamBody},
};

/// What came of one try.
enum Tried {
    /// The server answered.
    Answered(Box<Answered>),
    /// It did not.
    Failed(Box<Failed>),
    /// Nothing was sent; what the agent is told, which is written down already.
    Refused(Response),
}

struct Answered {
    route: Route,
    response: http::Response<UpstreamBody>,
    cleaning: Option<inject::Cleaning>,
    charge: Option<Box<Charge>>,
}

struct Failed {
    route: Route,
    error: ForwardError,
    charge: Option<Box<Charge>>,
}

impl Tried {
    /// Whether another backend is worth a try: this one has too much to do, is broken, or is not there.
    fn is_in_vain(&self) -> bool {
        match self {
            Self::Answered(answered) => {
                let status = answered.response.status();
                status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Self::Failed(failed) => match &failed.error {
                ForwardError::Dial(error) => error.is_of_the_server(),
                ForwardError::Upstream { .. }
                | ForwardError::Unprocessed { .. }
                | ForwardError::Switched(_) => true,
                ForwardError::Target | ForwardError::OverLimit(_) => false,
            },
            Self::Refused(_) => false,
        }
    }
}

/// A request that can be sent more than once: its body was read.
struct Repeatable {
    request: Box<Request>,
    body: Bytes,
    /// The memory that it takes.
    _room: Option<SemaphorePermit<'static>>,
}

impl Repeatable {
    async fn of(permit: &RequestPermit, mut request: Box<Request>) -> Result<Self, inject::Refusal> {
        let body = std::mem::replace(&mut request.body, RequestBody::Empty);
        let (body, room) = inject::read_whole(permit, body).await?;
        Ok(Self { request, body, _room: room })
    }

    fn request(&self) -> Box<Request> {
        let Request { method, target, authority, headers, ambiguity, websocket: _, body: _ } = &*self.request;
        Box::new(Request {
            method: method.clone(),
            target: target.clone(),
            authority: authority.clone(),
            headers: headers.clone(),
            ambiguity: *ambiguity,
            websocket: None,
            body: RequestBody::Whole(Some(self.body.clone())),
        })
    }
}

impl Service {
    /// Sends an admitted request, and passes on what is answered.
    pub(super) async fn send(
        &self,
        admitted: Box<Admitted>,
        request: Box<Request>,
    ) -> Result<Response, Aborted> {
        let fallbacks = admitted.permit.fallbacks();
        if !fallbacks.is_empty() {
            return Box::pin(self.send_or_fall_back(*admitted, request, fallbacks)).await;
        }
        let Admitted { permit, revision, exchange } = *admitted;
        let tried = self.attempt(permit, &revision, request, exchange.over()).await?;
        Ok(self.pass_on(tried, exchange))
    }

    async fn send_or_fall_back(
        &self,
        admitted: Admitted,
        request: Box<Request>,
        fallbacks: Vec<RequestPermit>,
    ) -> Result<Response, Aborted> {
        let Admitted { permit, revision, mut exchange } = admitted;
        let over = exchange.over().clone();
        let request = match until(&over, pin!(Repeatable::of(&permit, request))).await? {
            Ok(request) => request,
            Err(refusal) => return self.not_sent(refusal, &revision),
        };
        let mut tried = self.attempt(permit, &revision, request.request(), &over).await?;
        let mut alone = true;
        for next in fallbacks {
            if !tried.is_in_vain() {
                break;
            }
            if let Err(TooMany { denial, revision, .. }) = self.proxy.running.count(&next) {
                // Passed over, as a fallback that has spent what it may.
                if let Err(error) = self.proxy.events.over_spent(&denial, revision.number) {
                    return Ok(unwritten(&error));
                }
                continue;
            }
            if let Err(error) = self.proxy.events.allowed(&next) {
                return Ok(unwritten(&error));
            }
            // What is called stays the same, or the call is cut; a value may be another by now, or gone.
            let revision = self.proxy.running.revision();
            let other = self.attempt(next, &revision, request.request(), &over).await?;
            tried = self.better(tried, other, &mut exchange);
            alone = false;
        }
        let mut response = self.pass_on(tried, exchange);
        if !alone {
            // Another backend may have done something with it.
            response.extensions_mut().remove::<Unprocessed>();
        }
        Ok(response)
    }

    /// Of two tries the one that is passed on: the later, where it was answered. The other one is written down.
    fn better(&self, earlier: Tried, later: Tried, exchange: &mut Exchange) -> Tried {
        let (kept, other) = match (&earlier, &later) {
            (_, Tried::Refused(_)) | (Tried::Answered(_), Tried::Failed(_)) => (earlier, later),
            (_, Tried::Answered(_)) | (Tried::Failed(_) | Tried::Refused(_), Tried::Failed(_)) => {
                (later, earlier)
            }
        };
        match other {
            Tried::Answered(answered) => {
                let Answered { route, response, charge, .. } = *answered;
                exchange.charges(charge);
                exchange.answered(response.status());
                exchange.completes_as(Completion::of(&route.permit, response.status()));
            }
            Tried::Failed(failed) => {
                exchange.charges(failed.charge);
                drop(self.failed(&failed.route, &failed.error, exchange));
            }
            Tried::Refused(_) => {}
        }
        exchange.finished(None, false);
        kept
    }

    /// One try.
    async fn attempt(
        &self,
        permit: RequestPermit,
        revision: &Revision,
        request: Box<Request>,
        over: &CancellationToken,
    ) -> Result<Tried, Aborted> {
        let grpc = refuse::is_grpc(&request);
        let prepared = {
            let prepare = pin!(inject::prepare(self.before(), &permit, revision, request));
            until(over, prepare).await?
        };
        let Prepared { method, headers, trailers, body, own, target, cleaning, mut charge, room } =
            match prepared {
                Ok(prepared) => prepared,
                Err(refusal) => return self.not_sent(refusal, revision).map(Tried::Refused),
            };
        let route = Route { grpc, ..Route::new(permit, target) };
        let head = OutgoingHead { method, headers, trailers, own };
        if let Some(charge) = &mut charge {
            charge.sent();
        }
        let answered = until(over, pin!(self.proxy.upstream.forward(&route, head, body, over))).await?;
        drop(room);
        Ok(match answered {
            Ok(response) => Tried::Answered(Box::new(Answered { route, response, cleaning, charge })),
            Err(error) => Tried::Failed(Box::new(Failed { route, error, charge })),
        })
    }

    pub(super) fn not_sent(&self, why: inject::Refusal, revision: &Revision) -> Result<Response, Aborted> {
        match why {
            inject::Refusal::Denied(denial) => Ok(self.refuse(&denial, None, revision.number)),
            inject::Refusal::Limited(denial) => Ok(self.limited(&denial, revision.number, None)),
            inject::Refusal::Over(denial, wait) => Ok(self.limited(&denial, revision.number, Some(wait))),
            inject::Refusal::NotWritten(error) => Ok(unwritten(&error)),
            inject::Refusal::Aborted => Err(Aborted),
        }
    }

    fn pass_on(&self, tried: Tried, mut exchange: Exchange) -> Response {
        match tried {
            Tried::Answered(answered) => {
                let Answered { route, response, cleaning, charge } = *answered;
                exchange.charges(charge);
                match too_long(&route, response.body()) {
                    Some(denial) => self.refuse(&denial, None, route.permit.revision()),
                    None => relay(&route, response, cleaning, exchange),
                }
            }
            Tried::Failed(failed) => {
                exchange.charges(failed.charge);
                self.failed(&failed.route, &failed.error, &mut exchange)
            }
            Tried::Refused(response) => response,
        }
    }
}

/// What comes of something, unless the exchange is over before. It is pinned where it was made, since a move would copy
/// all that it may ever hold.
pub(super) async fn until<T>(
    over: &CancellationToken,
    mut what: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Aborted> {
    let mut cancelled = pin!(over.cancelled());
    poll_fn(|cx| {
        if over.is_cancelled() {
            return Poll::Ready(Err(Aborted));
        }
        match what.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(Ok(came)),
            // Only now is there something to wait for.
            Poll::Pending => cancelled.as_mut().poll(cx).map(|()| Err(Aborted)),
        }
    })
    .await
}
