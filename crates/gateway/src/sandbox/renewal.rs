//! The credentials of a sandbox that runs, as they change: got again before their time is over, and handed to its proxy.
//!
//! | occasion | what is asked |
//! |---|---|
//! | it is due by its lease | its store, once for all sandboxes that use it |
//! | `secret set`, `rm` or `test` | what is stored now |
//! | a server answered 401 | its store, once |
//!
//! Stores are asked beside the sandbox's task: a slow one keeps nobody from stopping it. The proxy holds each value to its
//! time by itself; what cannot be had again is left as the proxy has it, and what is gone is withheld at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chiton_api::control::{Credential, Revised};
use chiton_credentials::{Freshness, Hold, ResolveError, Resolved};
use chiton_secret::{Scheme, SecretRef, SecretValue};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::{JoinHandle, spawn},
    time::{Instant, sleep_until},
};

use super::{
    network::{PushError, current_text},
    task::Task,
};
use crate::{
    document::Document,
    error::GatewayError,
    gateway::{Gateway, Told},
    secrets::credential,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A reference that a server refuses is not asked for again before.
const REJECTED_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a sandbox's credentials. Never a value.
pub(super) struct Renewal {
    due: Option<Instant>,
    pause: Duration,
    asking: Option<JoinHandle<Asked>>,
    /// Whether the policy's references are those that are known here.
    learned: bool,
    references: HashSet<SecretRef>,
    holds: Vec<Hold>,
    versions: HashMap<SecretRef, u64>,
    unavailable: HashSet<SecretRef>,
    rejected: HashSet<SecretRef>,
    rejected_at: HashMap<SecretRef, Instant>,
    /// Of stores that have no versions: their owner said that these changed.
    told: HashSet<SecretRef>,
    changes: broadcast::Receiver<SecretRef>,
}

/// What stores said.
pub(super) struct Asked {
    revision: u64,
    policy: String,
    answers: Vec<(SecretRef, Result<Resolved, ResolveError>)>,
}

/// Why it is time to do something.
pub(super) enum Occasion {
    /// Stores are to be asked.
    Due,
    /// They have answered.
    Answered(Result<Asked, GatewayError>),
}

impl Renewal {
    pub(super) fn new(gateway: &Gateway) -> Self {
        Self {
            due: Some(Instant::now()),
            pause: FIRST_PAUSE,
            asking: None,
            learned: false,
            references: HashSet::new(),
            holds: Vec::new(),
            versions: HashMap::new(),
            unavailable: HashSet::new(),
            rejected: HashSet::new(),
            rejected_at: HashMap::new(),
            told: HashSet::new(),
            changes: gateway.secrets.changes(),
        }
    }

    /// The policy, or the proxy, is another.
    pub(super) fn begin_anew(&mut self) {
        self.learned = false;
        self.due = Some(Instant::now());
    }

    /// Servers refuse these.
    pub(super) fn rejected(&mut self, references: Vec<SecretRef>) {
        let now = Instant::now();
        self.rejected_at.retain(|_, at| now.duration_since(*at) < REJECTED_PAUSE);
        for reference in references {
            // One of the store of our own is pushed when it changes.
            if reference.scheme() != Scheme::Local && !self.rejected_at.contains_key(&reference) {
                self.rejected_at.insert(reference.clone(), now);
                self.rejected.insert(reference);
                self.due = Some(now);
            }
        }
    }

    /// Resolves when there is something to do.
    pub(super) async fn occasion(&mut self) -> Occasion {
        loop {
            let due = self.due.filter(|_| self.asking.is_none());
            tokio::select! {
                answered = until_answered(&mut self.asking) => {
                    self.asking = None;
                    return Occasion::Answered(answered);
                }
                () = until(due) => return Occasion::Due,
                changed = self.changes.recv() => match changed {
                    Ok(reference) if self.references.contains(&reference) => {
                        self.told.insert(reference);
                        self.due = Some(Instant::now());
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.told.extend(self.references.iter().cloned());
                        self.due = Some(Instant::now());
                    }
                    // The gateway is ending.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    fn retry(&mut self) {
        self.due = Some(Instant::now() + self.pause);
        self.pause = LAST_PAUSE.min(self.pause * 2);
    }

    fn learn(&mut self, gateway: &Gateway, references: &[SecretRef]) {
        self.learned = true;
        self.references = references.iter().cloned().collect();
        self.holds = references.iter().filter_map(|reference| gateway.secrets.hold(reference)).collect();
        self.versions.retain(|reference, _| self.references.contains(reference));
        self.unavailable.retain(|reference| self.references.contains(reference));
    }

    /// The sandbox has ended: what only it needed is forgotten.
    pub(super) fn release(&mut self, gateway: &Gateway) {
        self.holds.clear();
        gateway.secrets.forget_unheld();
    }

    fn is_leased(&self) -> bool {
        !self.holds.is_empty()
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

impl Task {
    /// Does what it is time for.
    pub(super) async fn renew(&mut self, occasion: Occasion) {
        let done = match occasion {
            Occasion::Due => self.ask_stores().await,
            Occasion::Answered(Ok(asked)) => self.hand_on(asked).await,
            Occasion::Answered(Err(error)) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(%error, sandbox = %self.record.name, "its credentials are not renewed");
            self.renewal.retry();
        }
    }

    async fn ask_stores(&mut self) -> Result<(), GatewayError> {
        self.renewal.due = None;
        let policy = current_text(&self.gateway, &self.record).await?;
        let references = chiton_policy::secret_refs(&Document::parse(&policy)?.policy);
        let first = !self.renewal.learned;
        self.renewal.learn(&self.gateway, &references);
        if references
            .iter()
            .any(|reference| reference.scheme().is_refreshed() || reference.scheme() == Scheme::File)
        {
            self.network.follow_rejected(&self.live);
        }
        // The proxy has what was resolved for it a moment ago; only of what ends must be known when.
        if references.is_empty() || (first && !self.renewal.is_leased()) {
            return Ok(());
        }
        let rejected = std::mem::take(&mut self.renewal.rejected);
        let (gateway, revision) = (Arc::clone(&self.gateway), self.record.revision);
        self.renewal.asking = Some(spawn(async move {
            let mut answers = Vec::new();
            for reference in references {
                let again = rejected.contains(&reference);
                let freshness = if again { Freshness::Rejected } else { Freshness::Kept };
                let answer = gateway.secrets.one(&reference, freshness).await;
                answers.push((reference, answer));
            }
            Asked { revision, policy, answers }
        }));
        Ok(())
    }

    async fn hand_on(&mut self, asked: Asked) -> Result<(), GatewayError> {
        let Asked { revision, policy, answers } = asked;
        if revision != self.record.revision {
            self.renewal.begin_anew();
            return Ok(());
        }
        let mut next: Option<Duration> = None;
        let mut credentials = Vec::new();
        for (reference, answer) in answers {
            let (credential, due) = self.judge(reference, answer)?;
            next = next.into_iter().chain(due).min();
            credentials.push(credential);
        }
        match self.network.refresh(Revised { revision, policy, credentials }).await {
            Ok(cut) => {
                if cut > 0 {
                    tracing::info!(cut, sandbox = %self.record.name, "a credential changed");
                }
                if let Some(next) = next {
                    self.renewal.due = Some(earlier(self.renewal.due, Instant::now() + next));
                }
            }
            Err(PushError::Refused(why)) => {
                tracing::error!(%why, sandbox = %self.record.name, "the proxy does not take the credentials");
                self.renewal.retry();
            }
            Err(PushError::Unknown(why)) => {
                tracing::error!(%why, sandbox = %self.record.name, "the proxy does not answer, and is replaced");
                self.network.replace(&self.gateway, &self.record, &self.live).await;
                self.renewal.begin_anew();
            }
        }
        Ok(())
    }

    /// What the proxy gets for an answer, and when it is to be asked for again. What changes is written before it is used.
    fn judge(
        &mut self,
        reference: SecretRef,
        answer: Result<Resolved, ResolveError>,
    ) -> Result<(Credential, Option<Duration>), GatewayError> {
        let renewal = &mut self.renewal;
        let shown = reference.to_string();
        let told = Told {
            layer: chiton_audit::Layer::Credential,
            rule: Some(&shown),
            ..Told::of(&self.record, "resolve")
        };
        let was_told = renewal.told.remove(&reference);
        match answer {
            Ok(resolved) => {
                let version = resolved.lease.map(|lease| lease.version);
                let known = version.and_then(|version| renewal.versions.insert(reference.clone(), version));
                let changed = (known.is_some() && known != version) || (was_told && version.is_none());
                if renewal.unavailable.remove(&reference) || changed {
                    self.gateway.record(told.allowed())?;
                }
                renewal.pause = FIRST_PAUSE;
                let due = resolved.lease.map(|lease| lease.refresh.max(FIRST_PAUSE));
                Ok((credential(reference, resolved), due))
            }
            Err(error) => {
                if renewal.unavailable.insert(reference.clone()) {
                    tracing::warn!(sandbox = %self.record.name, "{error}");
                    self.gateway.record_anyway(told.denied("credential_unavailable"));
                }
                let pause = renewal.pause;
                renewal.pause = LAST_PAUSE.min(pause * 2);
                let gone = error.fault.is_final();
                let credential = if gone { Credential::withheld(reference) } else { as_it_is(reference) };
                Ok((credential, Some(pause)))
            }
        }
    }
}

async fn until_answered(asking: &mut Option<JoinHandle<Asked>>) -> Result<Asked, GatewayError> {
    match asking {
        Some(asking) => asking.await.map_err(|_| GatewayError::Lost),
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn earlier(one: Option<Instant>, other: Instant) -> Instant {
    one.map_or(other, |one| one.min(other))
}

/// The proxy keeps what it has, for the time that it was given.
fn as_it_is(reference: SecretRef) -> Credential {
    Credential { reference, value: SecretValue::new(Vec::new()), hosts: None, valid_ms: None }
}
