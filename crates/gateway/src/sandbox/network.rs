//! A sandbox's proxy while it runs: that it is there, and another in its place when it died.

use std::time::Duration;

use chiton_api::control::{ProxyReply, ProxyRequest, ProxyStatus, Revised};
use chiton_store::Record;
use tokio::time::{Instant, sleep_until};

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
    Up(ProxyLink),
    /// There is none: inside, nothing is reached. Another is tried at this moment.
    Down {
        /// When.
        retry: Instant,
        /// How long after the last attempt.
        pause: Duration,
    },
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
            Ok(link) => Self::Up(ProxyLink::new(link)),
            Err(error) => {
                tracing::warn!(%error, sandbox = %live.handle.id, "the proxy cannot be reached");
                Self::due()
            }
        }
    }

    /// Resolves when the proxy died, or when another is due.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Up(link) => link.ended().await,
            Self::Down { retry, .. } => sleep_until(*retry).await,
        }
    }

    /// Where the proxy stands; none while there is none.
    pub(super) async fn status(&mut self) -> Option<ProxyStatus> {
        let Self::Up(link) = self else { return None };
        match link.status().await {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(%error, "the proxy does not say where it stands");
                *self = Self::due();
                None
            }
        }
    }

    /// Has the proxy enforce a revision; says how many exchanges were cut for it.
    pub(super) async fn push(&mut self, revised: Revised) -> Result<u64, PushError> {
        let Self::Up(link) = self else {
            return Err(PushError::Refused(
                "the sandbox has no proxy now, and so no network; one is being started".into(),
            ));
        };
        let revision = revised.revision;
        let answer = link.ask(&ProxyRequest::Apply(Box::new(revised))).await;
        match answer {
            Ok(ProxyReply::Enforcing { revision: enforced, cut }) if enforced == revision => Ok(cut),
            Ok(ProxyReply::Failed(failure)) => Err(PushError::Refused(failure.message)),
            Ok(ProxyReply::Enforcing { .. } | ProxyReply::Status(_) | ProxyReply::Done) => {
                Err(PushError::Unknown(out_of_order().to_string()))
            }
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
        if let Self::Up(_) = self {
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
