//! What is enforced now, and everything that runs under it.
//!
//! One lock joins the two: a request is judged and registered, or a revision replaced and every registered exchange
//! judged anew, never half of either. So after an apply nothing is left that was judged by an older revision only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chiton_llm::UsageReader;
use chiton_policy::{
    ConnectIntent, ConnectPermit, Decision, Denial, Host, Intent, LlmRoute, Reason, RequestPermit,
    model::CredentialPlace,
};
use chiton_secret::SecretRef;
use http::StatusCode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    events::{Completion, Ended, Events},
    limits,
    rates::{Counted, Rates},
    revision::Revision,
    spend::Charge,
};

/// The revision in force, and the exchanges that it allowed.
pub(crate) struct Running {
    inner: Mutex<Inner>,
    ended: Notify,
    events: Arc<Events>,
    /// Credentials that servers refused, and that there are any.
    rejected: (Mutex<Vec<SecretRef>>, Notify),
}

struct Inner {
    revision: Arc<Revision>,
    exchanges: HashMap<u64, Registered>,
    next: u64,
    rates: Rates,
}

struct Registered {
    kind: Kind,
    over: CancellationToken,
    connection: CancellationToken,
}

/// What runs, as it was judged.
enum Kind {
    Request {
        intent: Intent,
        grant: Grant,
        /// It opens a WebSocket: the GET alone is not enough.
        websocket: bool,
    },
    Connection {
        intent: ConnectIntent,
        private_addresses: bool,
    },
}

impl Kind {
    const fn is_websocket(&self) -> bool {
        match self {
            Kind::Request { websocket, .. } => *websocket,
            Kind::Connection { .. } => false,
        }
    }

    /// Judges it anew. Whether it may go on; where it may not, that is written.
    fn stays(&self, older: &Revision, revision: &Revision, events: &Events) -> bool {
        match self {
            Kind::Request { intent, grant, websocket } => {
                let denial = match judge(revision, intent, *websocket) {
                    // Its response is cleaned of what could be in it when it began.
                    Decision::Allow(permit)
                        if Grant::of(&permit) == *grant
                            && permit.hosts().all(|host| revision.gives_no_more_than(older, host)) =>
                    {
                        return true;
                    }
                    Decision::Allow(_) => None,
                    Decision::Deny(denial) => Some(denial),
                };
                events.cut(intent, denial.as_ref(), revision.number);
            }
            Kind::Connection { intent, private_addresses } => {
                let denial = match chiton_policy::decide_connect(&revision.compiled, intent) {
                    Ok(permit) if permit.private_addresses() == *private_addresses => return true,
                    Ok(_) => None,
                    Err(denial) => Some(denial),
                };
                events.cut_connection(intent, denial.as_ref(), revision.number);
            }
        }
        false
    }
}

/// What must stay the same for an exchange to go on: the rule may be another one, what it opens may not.
#[derive(Debug, PartialEq)]
pub(crate) struct Grant {
    /// The LLM route.
    pub(crate) llm: Option<Routed>,
    /// Private addresses were open.
    pub(crate) private_addresses: bool,
    /// The only addresses that were.
    pub(crate) allowed_addresses: Vec<String>,
    /// How long the bodies may be: of the request, of the response.
    pub(crate) bodies: [Option<u64>; 2],
    /// Which secret a rule added, and where.
    pub(crate) credential: Option<(SecretRef, CredentialPlace)>,
}

/// What of an LLM route must stay: its name, its backends and as whom each of them is called, and which models it has,
/// of which the call's is not remembered.
#[derive(Debug)]
pub(crate) struct Routed {
    route: Arc<LlmRoute>,
    /// The hosts of the fallbacks that no rule denies.
    fallbacks: Vec<Host>,
}

impl Routed {
    fn of(permit: &RequestPermit) -> Option<Self> {
        let route = Arc::clone(permit.llm()?.route());
        Some(Self { route, fallbacks: permit.hosts().skip(1).cloned().collect() })
    }
}

impl PartialEq for Routed {
    fn eq(&self, other: &Self) -> bool {
        let stays = |(one, other): (&LlmRoute, &LlmRoute)| {
            (&one.name, one.provider, &one.base_url) == (&other.name, other.provider, &other.base_url)
                && one.behind() == other.behind()
                && one.inject_backend_credential == other.inject_backend_credential
                && one.strip_caller_credentials == other.strip_caller_credentials
                && (&one.models, &one.model_alias) == (&other.models, &other.model_alias)
        };
        let same_length = self.route.fallback.len() == other.route.fallback.len();
        let mut routes = self.route.with_fallbacks().zip(other.route.with_fallbacks());
        same_length && self.fallbacks == other.fallbacks && routes.all(stays)
    }
}

impl Grant {
    fn of(permit: &RequestPermit) -> Self {
        Self {
            llm: Routed::of(permit),
            private_addresses: permit.private_addresses(),
            allowed_addresses: permit.allowed_addresses().iter().map(ToString::to_string).collect(),
            bodies: [permit.most_of_request(), permit.most_of_response()],
            credential: permit.credential().map(|known| (known.secret.clone(), known.place.clone())),
        }
    }
}

/// A WebSocket is judged as the GET that opens it, and by whether the rule opens any.
fn judge(revision: &Revision, intent: &Intent, websocket: bool) -> Decision {
    if websocket {
        chiton_policy::decide_websocket(&revision.compiled, intent)
    } else {
        chiton_policy::decide(&revision.compiled, intent)
    }
}

/// How often requests like this one may be made, and how that is said.
fn rate_of(permit: &RequestPermit) -> Option<(String, Counted, u32)> {
    if let Some(grant) = permit.llm() {
        let most = grant.route().limits.requests_per_minute?;
        let said = format!(
            "route \"{}\": `requests_per_minute` is {most}, and so many are used",
            grant.route().name
        );
        return Some((said, Counted::Backend(grant.backend().to_string()), most));
    }
    let (most, rule) = (permit.limits()?.requests_per_minute?, permit.rule()?);
    let said = format!("rule \"{rule}\" allows {most} requests in a minute");
    Some((said, Counted::Rule(rule.as_str().to_owned()), most))
}

/// What came of judging a request.
pub(crate) enum Admission {
    /// It may go.
    Admitted(Box<Admitted>),
    /// It may not.
    Refused(Denial, Arc<Revision>),
    /// It may not before this time has passed.
    TooMany(Box<TooMany>),
}

/// A request that comes too early.
pub(crate) struct TooMany {
    /// Why.
    pub(crate) denial: Denial,
    /// The revision that refused it.
    pub(crate) revision: Arc<Revision>,
    /// How long it has to wait.
    pub(crate) wait: Duration,
    /// Whether it is for a model route.
    pub(crate) llm: bool,
}

/// A judged request on its way.
pub(crate) struct Admitted {
    /// What it may do.
    pub(crate) permit: RequestPermit,
    /// The revision that allowed it.
    pub(crate) revision: Arc<Revision>,
    /// Its place among those that run.
    pub(crate) exchange: Exchange,
}

/// A running exchange. Ends when dropped.
pub(crate) struct Exchange {
    running: Arc<Running>,
    id: u64,
    over: CancellationToken,
    started: Instant,
    bytes: u64,
    first_byte: Option<Duration>,
    completion: Option<Completion>,
    charge: Option<Box<Charge>>,
}

impl Inner {
    /// Counts a request that is about to be made.
    fn count(&mut self, permit: &RequestPermit) -> Result<(), TooMany> {
        let Some((said, of, most)) = rate_of(permit) else { return Ok(()) };
        self.rates.count(of, most, Instant::now()).map_err(|wait| {
            let (reason, intent) = (Reason::LimitExceeded, permit.intent());
            let denial = Denial::after_permit(reason, permit.rule().cloned(), intent, said);
            TooMany { denial, revision: self.revision.clone(), wait, llm: permit.llm().is_some() }
        })
    }
}

impl Running {
    /// Counts a call that is about to go to a fallback.
    pub(crate) fn count(&self, permit: &RequestPermit) -> Result<(), TooMany> {
        self.inner().count(permit)
    }

    /// Begins with a revision.
    pub(crate) fn new(revision: Arc<Revision>, events: Arc<Events>, rates: Rates) -> Arc<Self> {
        let inner = Inner { revision, exchanges: HashMap::new(), next: 0, rates };
        Arc::new(Self {
            inner: Mutex::new(inner),
            ended: Notify::new(),
            events,
            rejected: Default::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision in force.
    pub(crate) fn revision(&self) -> Arc<Revision> {
        self.inner().revision.clone()
    }

    /// Waits until a server has refused a credential; which ones they were.
    pub(crate) async fn rejected(&self) -> Vec<SecretRef> {
        let (rejected, told) = &self.rejected;
        loop {
            let known = std::mem::take(&mut *rejected.lock().unwrap_or_else(PoisonError::into_inner));
            if !known.is_empty() {
                return known;
            }
            told.notified().await;
        }
    }

    /// A server answered 401 to a request with the permit's credential.
    fn reject(&self, permit: &RequestPermit) {
        let of_rule = permit.credential().map(|known| &known.secret);
        let Some(reference) = permit.llm().and_then(|grant| grant.inject()).or(of_rule) else { return };
        let (rejected, told) = &self.rejected;
        let mut known = rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(reference) {
            known.push(reference.clone());
        }
        told.notify_one();
    }

    /// Whether anything runs.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way() > 0
    }

    /// How much runs.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.inner().exchanges.len()
    }

    /// Judges a request by the revision of this moment.
    pub(crate) fn admit(
        self: &Arc<Self>,
        intent: &Intent,
        websocket: bool,
        connection: &CancellationToken,
    ) -> Admission {
        let mut inner = self.inner();
        let revision = inner.revision.clone();
        let permit = match judge(&revision, intent, websocket) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => return Admission::Refused(denial, revision),
        };
        if inner.exchanges.len() >= limits::EXCHANGES {
            let said = format!("{} requests of this sandbox are under way already", limits::EXCHANGES);
            let denial = Denial::after_permit(Reason::LimitExceeded, permit.rule().cloned(), intent, said);
            return Admission::Refused(denial, revision);
        }
        if let Err(too_many) = inner.count(&permit) {
            return Admission::TooMany(Box::new(too_many));
        }
        let id = inner.next;
        inner.next += 1;
        let over = CancellationToken::new();
        let registered = Registered {
            kind: Kind::Request { intent: intent.clone(), grant: Grant::of(&permit), websocket },
            over: over.clone(),
            connection: connection.clone(),
        };
        inner.exchanges.insert(id, registered);
        drop(inner);
        let exchange = Exchange {
            running: self.clone(),
            id,
            over,
            started: Instant::now(),
            bytes: 0,
            first_byte: None,
            completion: None,
            charge: None,
        };
        Admission::Admitted(Box::new(Admitted { permit, revision, exchange }))
    }

    /// Judges a connection by the revision of this moment. The refusal comes with the revision's number.
    pub(crate) fn admit_connection(
        self: &Arc<Self>,
        intent: &ConnectIntent,
        connection: &CancellationToken,
    ) -> Result<(ConnectPermit, Place), (Denial, u64)> {
        let mut inner = self.inner();
        let number = inner.revision.number;
        let permit = chiton_policy::decide_connect(&inner.revision.compiled, intent)
            .map_err(|denial| (denial, number))?;
        if inner.exchanges.len() >= limits::EXCHANGES {
            let said = format!(
                "{} requests and connections of this sandbox are under way already",
                limits::EXCHANGES
            );
            return Err((Denial::of_connection(Reason::LimitExceeded, said), number));
        }
        let id = inner.next;
        inner.next += 1;
        let over = CancellationToken::new();
        let kind = Kind::Connection { intent: intent.clone(), private_addresses: permit.private_addresses() };
        inner.exchanges.insert(id, Registered { kind, over: over.clone(), connection: connection.clone() });
        Ok((permit, Place { running: self.clone(), id, over }))
    }

    /// Replaces the revision, and cuts what it does not allow. Returns, when all of that has ended, how much it was.
    pub(crate) async fn replace(&self, revision: Arc<Revision>) -> u64 {
        let cut = self.swap(revision);
        let number = cut.len() as u64;
        if !self.wait_for(&cut, Duration::from_millis(20)).await {
            // Blocked on an agent that does not read: its whole connection goes.
            self.end_connections(&cut, false);
            // That of a WebSocket may still answer the close frame that it was told.
            self.wait_for(&cut, limits::WEBSOCKET_CUT).await;
            self.end_connections(&cut, true);
            self.wait_for(&cut, Duration::from_secs(2)).await;
        }
        number
    }

    fn end_connections(&self, ids: &[u64], websockets: bool) {
        for (_, registered) in self.inner().exchanges.iter().filter(|(id, _)| ids.contains(id)) {
            if websockets || !registered.kind.is_websocket() {
                registered.connection.cancel();
            }
        }
    }

    fn swap(&self, revision: Arc<Revision>) -> Vec<u64> {
        let mut inner = self.inner();
        let older = std::mem::replace(&mut inner.revision, revision.clone());
        inner.rates.forget(Instant::now());
        let mut cut = Vec::new();
        for (id, registered) in &inner.exchanges {
            if registered.kind.stays(&older, &revision, &self.events) {
                continue;
            }
            registered.over.cancel();
            cut.push(*id);
        }
        cut
    }

    /// Waits until none of these runs any more.
    async fn wait_for(&self, ids: &[u64], most: Duration) -> bool {
        let gone = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if !ids.iter().any(|id| self.inner().exchanges.contains_key(id)) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(most, gone).await.is_ok()
    }
}

impl Exchange {
    /// Rings when the exchange is over or cut.
    pub(crate) const fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// The server refuses the credential that the permit's request had, where it had one.
    pub(crate) fn rejected(&self, permit: &RequestPermit) {
        self.running.reject(permit);
    }

    /// What its completion event is to say.
    pub(crate) fn completes_as(&mut self, completion: Completion) {
        self.completion = Some(completion);
    }

    /// What its call spends, which went out.
    pub(crate) fn charges(&mut self, charge: Option<Box<Charge>>) {
        self.charge = charge;
    }

    /// Nothing of it went out.
    pub(crate) fn not_sent(&mut self) {
        if let Some(charge) = &mut self.charge {
            charge.not_sent();
        }
    }

    /// The server answered with this status.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(charge) = &mut self.charge {
            charge.answered(status);
        }
    }

    /// More of the body has come from the server.
    pub(crate) fn came(&mut self, response: &UsageReader) {
        if let Some(charge) = &mut self.charge {
            charge.came(response);
        }
    }

    /// So many bytes of the body went to the agent.
    pub(crate) fn passed(&mut self, bytes: usize) {
        if bytes > 0 && self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        self.bytes += bytes as u64;
    }

    /// The response went over a limit in the middle of its body, and is cut.
    pub(crate) fn over_limit(&self, said: &str) {
        if let Some(completion) = &self.completion {
            self.running.events.over_limit(completion, said);
        }
    }

    /// The response has ended; `whole`: as it should.
    pub(crate) fn finished(&mut self, usage: Option<&UsageReader>, whole: bool) {
        if let Some(completion) = self.completion.take() {
            let whole = whole || usage.is_some_and(UsageReader::has_ended);
            let usage = usage.map(UsageReader::usage);
            let llm = self.charge.take().map(|charge| charge.settle(usage, whole));
            let ended =
                Ended { bytes: self.bytes, first_byte: self.first_byte, after: self.started.elapsed() };
            self.running.events.completed(completion, ended, llm);
        }
    }
}

/// A connection's place among what runs. Given up when dropped.
pub(crate) struct Place {
    running: Arc<Running>,
    id: u64,
    over: CancellationToken,
}

impl Place {
    /// Rings when a new revision cuts the connection.
    pub(crate) const fn over(&self) -> &CancellationToken {
        &self.over
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.inner().exchanges.remove(&self.id);
        self.running.ended.notify_waiters();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finished(None, false);
        self.running.inner().exchanges.remove(&self.id);
        self.over.cancel();
        self.running.ended.notify_waiters();
    }
}
