//! What every request and every task of the gateway has at hand.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chiton_api::{
    name::{DriverName, SandboxId},
    paths::Paths,
};
use chiton_audit::{Decision, Event, Layer};
use chiton_driver::{ComputeDriver, SandboxHandle};
use chiton_store::{Record, Store};
use jiff::Timestamp;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{
    audit::{AuditError, AuditLog},
    error::GatewayError,
    sandbox::Live,
    secrets::Secrets,
};

/// No sandbox is longer in the making.
const MAKING: Duration = Duration::from_secs(10);
/// How often it is asked whether it is made.
const PERIOD: Duration = Duration::from_millis(10);

/// The gateway's state. The store is the arbiter of who may do what; `live` only says whom to ask.
pub(crate) struct Gateway {
    pub(crate) paths: Paths,
    pub(crate) store: Arc<Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) secrets: Secrets,
    pub(crate) drivers: Vec<Arc<dyn ComputeDriver>>,
    pub(crate) started: Timestamp,
    /// Set once when the gateway shall end.
    pub(crate) ending: watch::Sender<bool>,
    live: Mutex<HashMap<SandboxId, Arc<Live>>>,
}

/// What a gateway is made of.
pub(crate) struct Parts {
    pub(crate) paths: Paths,
    pub(crate) store: Arc<Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) secrets: Secrets,
    pub(crate) drivers: Vec<Arc<dyn ComputeDriver>>,
}

impl Gateway {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { paths, store, audit, secrets, drivers } = parts;
        let (ending, _) = watch::channel(false);
        let (started, live) = (Timestamp::now(), Mutex::default());
        Arc::new(Self { paths, store, audit, secrets, drivers, started, ending, live })
    }

    /// The driver of this name, where this program has it.
    pub(crate) fn driver(&self, name: DriverName) -> Result<Arc<dyn ComputeDriver>, GatewayError> {
        let found = self.drivers.iter().find(|driver| driver.name() == name);
        found.cloned().ok_or_else(|| GatewayError::NotSupported(format!("the driver `{name}`")))
    }

    /// The sandbox that a text names. One whose program has ended, as its user was told already, is waited for
    /// until its record says so too.
    pub(crate) async fn find(&self, text: &str) -> Result<Record, GatewayError> {
        let record = self.store.find(text).await?;
        match self.live(&record.id) {
            Some(live) if live.settle().await => Ok(self.store.find(text).await?),
            _ => Ok(record),
        }
    }

    /// The task of a sandbox that runs.
    pub(crate) fn live(&self, id: &SandboxId) -> Option<Arc<Live>> {
        self.lock().get(id).cloned()
    }

    /// As [`Gateway::live`], or why not. One that is being made is waited for: its program may run a moment before
    /// its task says so.
    pub(crate) async fn running(&self, record: &Record) -> Result<Arc<Live>, GatewayError> {
        let began = Instant::now();
        loop {
            let now = self.store.find_also_removed(record.id.as_str()).await?;
            // Asked after the record: what was made meanwhile is found.
            if let Some(live) = self.live(&record.id) {
                return Ok(live);
            }
            if !now.state.is_live() || began.elapsed() > MAKING {
                return Err(GatewayError::WrongState {
                    name: record.name.to_string(),
                    state: now.state.as_str(),
                    hint: "`chiton start` starts one that has ended",
                });
            }
            sleep(PERIOD).await;
        }
    }

    pub(crate) fn set_live(&self, id: &SandboxId, live: Arc<Live>) {
        self.lock().insert(id.clone(), live);
    }

    /// Takes the task of a sandbox away, where it is this one: the sandbox may have been started again since its record
    /// said that it had ended.
    pub(crate) fn clear_live(&self, live: &Arc<Live>) {
        let mut all = self.lock();
        if all.get(&live.handle.id).is_some_and(|now| Arc::ptr_eq(now, live)) {
            all.remove(&live.handle.id);
        }
    }

    /// Those that run.
    pub(crate) fn all_live(&self) -> Vec<Arc<Live>> {
        self.lock().values().cloned().collect()
    }

    /// How many run, as far as their users know.
    pub(crate) fn count_running(&self) -> u64 {
        self.lock().values().filter(|live| !live.is_exiting()).fold(0, |count, _| count + 1)
    }

    /// A sandbox's folder in the state folder.
    pub(crate) fn folder(&self, id: &SandboxId) -> PathBuf {
        self.paths.sandbox(id.as_str())
    }

    /// Writes an event of our own before what it tells of. What cannot be written down is not done.
    pub(crate) fn record(&self, told: Told<'_>) -> Result<(), AuditError> {
        self.audit.may_begin()?;
        self.audit.record(&told.event())
    }

    /// As [`Gateway::record`], where what happened cannot be taken back any more.
    pub(crate) fn record_anyway(&self, told: Told<'_>) {
        if let Err(error) = self.audit.record(&told.event()) {
            tracing::error!(%error, "an event was not written");
        }
    }

    /// Chains what is waiting, now.
    pub(crate) async fn chain_now(&self) -> Result<(), GatewayError> {
        let audit = Arc::clone(&self.audit);
        Ok(spawn_blocking(move || audit.drain()).await.map_err(|_| GatewayError::Lost)??)
    }

    /// The same of one sandbox.
    pub(crate) async fn chain_of(&self, id: &SandboxId) -> Result<(), GatewayError> {
        let (audit, id) = (Arc::clone(&self.audit), id.clone());
        Ok(spawn_blocking(move || audit.drain_of(&id)).await.map_err(|_| GatewayError::Lost)??)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event of the gateway's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) sandbox: Option<&'a str>,
    pub(crate) revision: Option<u64>,
    pub(crate) layer: Layer,
    pub(crate) action: &'static str,
    pub(crate) decision: Option<Decision>,
    pub(crate) reason: Option<&'static str>,
    /// A secret's reference, for events about credentials.
    pub(crate) rule: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// Something of a sandbox's life.
    pub(crate) fn of(record: &'a Record, action: &'static str) -> Self {
        Self {
            sandbox: Some(record.name.as_str()),
            revision: Some(record.revision),
            layer: Layer::Lifecycle,
            action,
            decision: None,
            reason: None,
            rule: None,
        }
    }

    /// Of a revision of its policy.
    pub(crate) fn policy(self, revision: u64) -> Self {
        Self { layer: Layer::Policy, revision: Some(revision), ..self }
    }

    pub(crate) fn allowed(self) -> Self {
        Self { decision: Some(Decision::Allow), ..self }
    }

    pub(crate) fn denied(self, reason: &'static str) -> Self {
        Self { decision: Some(Decision::Deny), reason: Some(reason), ..self }
    }

    fn event(self) -> Event {
        let mut event = Event::new(self.layer, self.action);
        event.sandbox = self.sandbox.map(str::to_owned);
        event.revision = self.revision;
        event.decision = self.decision;
        event.reason = self.reason.map(Into::into);
        event.rule = self.rule.map(str::to_owned);
        event
    }
}

/// A driver's name for a sandbox.
pub(crate) fn handle(record: &Record) -> SandboxHandle {
    SandboxHandle { driver: record.driver, id: record.id.clone() }
}
