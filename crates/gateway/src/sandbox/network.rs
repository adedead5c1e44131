//! A sandbox's proxy while it runs: that it is there, and another in its place when it died.

use std::{sync::Arc, time::Duration};

use chiton_api::control::{ProxyReply, ProxyRequest, ProxyStatus, Revised};
use chiton_secret::SecretRef;
use chiton_store::Record;
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{
    check::{resolved, resolved_upstream},
    live::Live,
    make,
    upstream::Unresolved,
};
use crate::{
    config::Config,
    document::Document,
    error::GatewayError,
    gateway::{Gateway, Told},
    link::{ProxyLink, out_of_order},
};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The way out, or that there is none.
pub(super) enum Network {
    /// The proxy answers.
    Up(ProxyLink, Option<Rejected>),
    /// There is none: inside, nothing is reached. Another is tried at this moment.
    Down {
        /// When.
        retry: Instant,
        /// How long after the last attempt.
        pause: Duration,
    },
}

/// What happened to the way out.
pub(super) enum Change {
    /// The proxy died, or another is due.
    Due,
    /// Servers refused these credentials.
    Rejected(Vec<SecretRef>),
}

/// A proxy's word about credentials that servers refuse, on a link of its own.
pub(super) struct Rejected {
    told: mpsc::Receiver<Vec<SecretRef>>,
    task: AbortHandle,
}

impl Rejected {
    fn follow(live: &Live) -> Self {
        let (tell, told) = mpsc::channel(1);
        let (driver, handle) = (Arc::clone(&live.driver), live.handle.clone());
        let task = tokio::spawn(async move {
            let Ok(link) = driver.proxy_link(&handle).await else { return };
            let mut link = ProxyLink::new(link);
            while let Ok(rejected) = link.rejected().await {
                if tell.send(rejected).await.is_err() {
                    return;
                }
            }
        });
        Self { told, task: task.abort_handle() }
    }

    async fn next(rejected: &mut Option<Self>) -> Option<Vec<SecretRef>> {
        match rejected {
            Some(rejected) => rejected.told.recv().await,
            None => None,
        }
    }
}

impl Drop for Rejected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a revision is not enforced.
pub(super) enum PushError {
    /// The proxy says so; it enforces the one before.
    Refused(String),
    /// Nobody knows what it enforces.
    Unknown(String),
}

impl Network {
    /// There is no proxy, and one is due at once.
    pub(super) fn due() -> Self {
        Self::Down { retry: Instant::now(), pause: FIRST_RETRY }
    }

    /// Speaks to the proxy that the driver attached.
    pub(super) async fn open(live: &Live) -> Self {
        match live.driver.proxy_link(&live.handle).await {
            Ok(link) => Self::Up(ProxyLink::new(link), None),
            Err(error) => {
                tracing::warn!(%error, sandbox = %live.handle.id, "the proxy cannot be reached");
                Self::due()
            }
        }
    }

    /// Resolves when the proxy died or another is due, or when it tells of a credential.
    pub(super) async fn changed(&mut self) -> Change {
        match self {
            Self::Up(link, rejected) => tokio::select! {
                () = link.ended() => Change::Due,
                Some(references) = Rejected::next(rejected) => Change::Rejected(references),
            },
            Self::Down { retry, .. } => {
                sleep_until(*retry).await;
                Change::Due
            }
        }
    }

    /// Asks the proxy to tell of credentials that servers refuse.
    pub(super) fn follow_rejected(&mut self, live: &Live) {
        if let Self::Up(_, rejected @ None) = self {
            *rejected = Some(Rejected::follow(live));
        }
    }

    /// Where the proxy stands; none while there is none. One that a gateway did not live to configure answers, and is none.
    pub(super) async fn status(&mut self) -> Option<ProxyStatus> {
        let Self::Up(link, _) = self else { return None };
        let why = match link.status().await {
            Ok(status) if status.revision.is_some() => return Some(status),
            Ok(_) => "it was never configured".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(why, "the proxy does not say where it stands");
        *self = Self::due();
        None
    }

    /// Has the proxy enforce a revision; says how many exchanges were cut for it.
    pub(super) async fn push(&mut self, revised: Revised) -> Result<u64, PushError> {
        let revision = revised.revision;
        self.ask_for(revision, ProxyRequest::Apply(Box::new(revised))).await
    }

    /// Gives the proxy the credentials of the revision that it enforces; says how many exchanges were cut for it.
    pub(super) async fn refresh(&mut self, revised: Revised) -> Result<u64, PushError> {
        let revision = revised.revision;
        self.ask_for(revision, ProxyRequest::Refresh(Box::new(revised))).await
    }

    async fn ask_for(&mut self, revision: u64, request: ProxyRequest) -> Result<u64, PushError> {
        let Self::Up(link, _) = self else {
            return Err(PushError::Refused(
                "the sandbox has no proxy now, and so no network; one is being started".into(),
            ));
        };
        match link.ask(&request).await {
            Ok(ProxyReply::Enforcing { revision: enforced, cut }) if enforced == revision => Ok(cut),
            Ok(ProxyReply::Failed(failure)) => Err(PushError::Refused(failure.message)),
            Ok(
                ProxyReply::Enforcing { .. }
                | ProxyReply::Status(_)
                | ProxyReply::Rejected(_)
                | ProxyReply::Done,
            ) => Err(PushError::Unknown(out_of_order().to_string())),
            Err(error) => Err(PushError::Unknown(error.to_string())),
        }
    }

    /// Has the driver attach another proxy, with the revision in force.
    pub(super) async fn replace(&mut self, gateway: &Gateway, record: &Record, live: &Live) {
        if live.is_forced() {
            // It is being destroyed, its proxy with it.
            *self = Self::Down { retry: Instant::now() + LAST_RETRY, pause: LAST_RETRY };
            return;
        }
        if let Self::Up(..) = self {
            gateway.record_anyway(Told::of(record, "proxy").denied("proxy_lost"));
            *self = Self::due();
        }
        match attach(gateway, record, live).await {
            Ok(()) => *self = Self::open(live).await,
            Err(error) => {
                tracing::error!(%error, sandbox = %record.name, "no network: the proxy cannot be replaced");
                let Self::Down { pause, .. } = *self else { return };
                *self = Self::Down { retry: Instant::now() + pause, pause: LAST_RETRY.min(pause * 2) };
            }
        }
    }
}

async fn attach(gateway: &Gateway, record: &Record, live: &Live) -> Result<(), GatewayError> {
    let text = current_text(gateway, record).await?;
    let document = Document::parse(&text)?;
    let upstream = Unresolved::of(&Config::load(&gateway.paths)?)?;
    let upstream = resolved_upstream(gateway, record, &upstream).await?;
    let credentials = resolved(gateway, record, &document).await?;
    let authority = make::read_authority(&gateway.folder(&record.id))
        .map_err(|source| GatewayError::Io { doing: "cannot read the sandbox's authority", source })?;
    let revised = Revised { revision: record.revision, policy: text, credentials };
    gateway.record(Told::of(record, "proxy").allowed())?;
    let config = make::proxy_config(record, authority, revised, upstream);
    Ok(live.driver.attach_network_proxy(&live.handle, config).await?)
}

/// The text of the revision in force.
pub(super) async fn current_text(gateway: &Gateway, record: &Record) -> Result<String, GatewayError> {
    let revisions = gateway.store.revisions(&record.id).await?;
    let current = revisions.into_iter().find(|revision| revision.revision == record.revision);
    Ok(current.map_or_else(|| record.policy.clone(), |revision| revision.policy))
}
