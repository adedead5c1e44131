//! Replacing a policy while its sandbox runs.
//!
//! The revision is stored, pending, before it is pushed, and marked enforced after the proxy's word; one
//! after the other, since the sandbox's own task does it. A proxy that refuses keeps the one before. When
//! nobody can say which one a proxy enforces, it is replaced by one that enforces the one before.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chiton_api::{
    control::Revised,
    http::{ApplyReply, Session},
};
use chiton_store::Record;
use jiff::Timestamp;

use super::{
    check::{check_record, policy_file, resolved, resolved_upstream},
    create::restart,
    network::PushError,
    task::Task,
};
use crate::{
    config::Config,
    document::Document,
    error::{GatewayError, one_line},
    gateway::{Gateway, Told},
};

/// What a program gets to end before it is made again.
const GRACE: Duration = Duration::from_secs(10);

impl Task {
    /// Has the proxy enforce another dynamic half.
    pub(super) async fn apply(&mut self, document: Document) -> Result<ApplyReply, GatewayError> {
        let base = Document::parse(&self.record.policy)?;
        let differing = base.differing(&document);
        if !differing.is_empty() {
            return Err(GatewayError::StaticDiffers(differing));
        }
        document.check_backends(&Config::load(&self.gateway.paths)?)?;
        let credentials = resolved(&self.gateway, &self.record, &document).await?;
        let id = &self.record.id;
        let revision =
            self.gateway.store.add_revision(id, &document.text, &document.digest, Timestamp::now()).await?;
        let told = Told::of(&self.record, "apply").policy(revision);
        if let Err(error) = self.gateway.record(told) {
            self.gateway.store.push_failed(id, revision).await?;
            return Err(error.into());
        }
        let revised = Revised { revision, policy: document.text.to_string(), credentials };
        match self.network.push(revised).await {
            Ok(cut) => {
                if let Err(error) = self.gateway.store.enforced(id, revision).await {
                    // Nobody would know of it: the one before is enforced again, by another proxy.
                    return Err(self.not_applied(revision, PushError::Unknown(error.to_string())).await);
                }
                self.gateway.record_anyway(Told { action: "enforced", ..told }.allowed());
                self.record.revision = revision;
                Ok(ApplyReply { revision, digest: document.digest, cut, recreated: false })
            }
            Err(error) => Err(self.not_applied(revision, error).await),
        }
    }

    async fn not_applied(&mut self, revision: u64, error: PushError) -> GatewayError {
        if let Err(error) = self.gateway.store.push_failed(&self.record.id, revision).await {
            tracing::error!(%error, sandbox = %self.record.name, revision, "a revision that failed stays pending");
        }
        let told = Told::of(&self.record, "enforced").policy(revision);
        self.gateway.record_anyway(told.denied("not_enforced"));
        let why = match error {
            PushError::Refused(why) => why,
            PushError::Unknown(why) => {
                self.network.replace(&self.gateway, &self.record, &self.live).await;
                format!("{why}; its proxy was replaced")
            }
        };
        GatewayError::NotApplied(one_line(&why))
    }
}

/// Stops the sandbox, gives it the whole document, and starts it again, detached.
pub(crate) async fn recreate(
    gateway: &Arc<Gateway>,
    record: &Record,
    document: Document,
    file: Option<PathBuf>,
) -> Result<ApplyReply, GatewayError> {
    if record.remove {
        return Err(GatewayError::WrongState {
            name: record.name.to_string(),
            state: "to be removed when it has ended",
            hint: "run it again with the new policy instead",
        });
    }
    // What would stop it from starting is found before it is stopped.
    let upstream = check_record(gateway, record, &document)?;
    resolved_upstream(gateway, record, &upstream).await?;
    resolved(gateway, record, &document).await?;
    let told = Told::of(record, "recreate").policy(record.revision);
    gateway.record(told)?;
    if let Some(live) = gateway.live(&record.id) {
        live.stop(GRACE).await;
    }
    let store = &gateway.store;
    let revision = store.add_revision(&record.id, &document.text, &document.digest, Timestamp::now()).await?;
    let file = match file {
        Some(file) => policy_file(&file, &record.spec.workspace),
        None => record.spec.policy_file.clone(),
    };
    store.replace_policy(&record.id, revision, file.as_deref()).await?;
    let ended = store.find(record.id.as_str()).await?;
    restart(gateway, &ended, Session::default()).await?;
    Ok(ApplyReply { revision, digest: document.digest, cut: 0, recreated: true })
}
