//! Everything of one configured proxy, shared by its connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chiton_api::forward::ForwardProxy;
use chiton_audit::Sink;
use chiton_llm::PriceRows;
use chiton_policy::{BaseUrl, Host};
use chiton_tls::{Authority, Leaves, Terminator, TlsError};

use crate::{
    dns::{
        names::{DnsName, Names, NoStandIn, StandIn},
        server::Resolve,
    },
    events::Events,
    owners::Owners,
    rates::Rates,
    revision::Revision,
    running::Running,
    spend::{Past, Spend},
    upstream::{
        dial::Dialler,
        forward::Upstream,
        http2::WideStreams,
        pool::Pool,
        resolve::{BadOverride, Resolver, SystemNames},
        trust::Trust,
        via::Via,
    },
};

/// The data plane of one sandbox.
pub(crate) struct Proxy {
    /// Ends the agent's TLS.
    pub(crate) terminator: Terminator,
    /// Stand-ins.
    pub(crate) names: Names,
    /// What is written.
    pub(crate) events: Arc<Events>,
    /// What is enforced.
    pub(crate) running: Arc<Running>,
    /// Whose connections are.
    pub(crate) owners: Owners,
    /// The servers' side.
    pub(crate) upstream: Arc<Upstream>,
    /// What model calls spend.
    pub(crate) spend: Arc<Spend>,
    connections: AtomicU64,
}

/// What a proxy is made of.
pub(crate) struct Parts {
    /// The sandbox's name.
    pub(crate) sandbox: String,
    /// Its authority.
    pub(crate) authority: Authority,
    /// Where events go.
    pub(crate) sink: Box<dyn Sink + Send>,
    /// Names that earlier proxies gave stand-ins.
    pub(crate) names: Vec<DnsName>,
    /// The first revision.
    pub(crate) revision: Revision,
    /// What upstream servers are verified against.
    pub(crate) trust: Trust,
    /// The host's names.
    pub(crate) system: SystemNames,
    /// `[upstream.resolve]`.
    pub(crate) resolve: BTreeMap<String, String>,
    /// `[upstream] proxy`.
    pub(crate) forward: Option<ForwardProxy>,
    /// `[llm] allow`.
    pub(crate) opened: Vec<BaseUrl>,
    /// Whom to ask whose connections are.
    pub(crate) owners: Owners,
    /// `[llm.prices]`.
    pub(crate) prices: PriceRows,
    /// What earlier proxies spent.
    pub(crate) past: Past,
}

/// Why a proxy cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operator's entries.
    #[error(transparent)]
    Resolve(#[from] BadOverride),
}

impl Proxy {
    /// Joins the parts.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, BuildError> {
        let mut past = parts.past;
        let leaves = Leaves::new(parts.authority)?;
        let events = Arc::new(Events::new(parts.sink, parts.sandbox));
        let revision = Arc::new(parts.revision);
        let could_allow = |name: &DnsName| revision.compiled.could_allow(&Host::Name(name.clone()));
        let names = Names::restored(parts.names, could_allow);
        let resolver = Resolver::new(parts.system, &parts.resolve)?;
        let dialler =
            Dialler { resolver, trust: parts.trust, via: parts.forward.map(Via::new), opened: parts.opened };
        Ok(Arc::new(Self {
            terminator: Terminator::new(Arc::new(leaves))?,
            names,
            running: Running::new(revision.clone(), events.clone(), Rates::restored(past.take_requests())),
            spend: Spend::new(&parts.prices, events.clone(), past),
            events,
            owners: parts.owners,
            upstream: Arc::new(Upstream { dialler, pool: Pool::default(), wide: WideStreams::default() }),
            connections: AtomicU64::new(0),
        }))
    }

    /// Replaces the revision. Returns how much was cut for it, when all of that has ended.
    pub(crate) async fn apply(&self, revision: Revision) -> u64 {
        let number = revision.number;
        let revision = revision.after(&self.running.revision());
        let cut = self.running.replace(Arc::new(revision)).await;
        self.upstream.pool.keep_only(number);
        cut
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn count_connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }

    /// Open connections of the agent.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Resolve for Proxy {
    fn stand_in(&self, name: &DnsName) -> Result<StandIn, NoStandIn> {
        let could_allow = self.running.revision().compiled.could_allow(&Host::Name(name.clone()));
        let stand_in = self.names.stand_in(name, could_allow, || self.events.stand_in(name).is_ok());
        if let Err(NoStandIn::Exhausted) = stand_in {
            self.events.no_stand_in(name);
        }
        stand_in
    }
}

/// One open connection.
pub(crate) struct OpenConnection(Arc<Proxy>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
