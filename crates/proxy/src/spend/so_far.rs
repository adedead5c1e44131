//! How far running calls are, written now and then.
//!
//! For who looks while a stream runs, and so that a proxy that is killed leaves the last figures that it knew. What is
//! known of a call is written a second later, so that one which has ended by then, as most have, is written once only.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chiton_audit::{EventId, LlmUse};
use tokio::{sync::Notify, time::sleep};

use crate::events::Events;

/// How often it is written of a call at most.
const PERIOD: Duration = Duration::from_secs(1);

/// What is known and not written, by the event of the reservation.
#[derive(Default)]
pub(super) struct SoFar {
    known: Mutex<HashMap<EventId, LlmUse>>,
    more: Notify,
}

impl SoFar {
    fn known(&self) -> MutexGuard<'_, HashMap<EventId, LlmUse>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So far is a call.
    pub(super) fn is(&self, call: EventId, llm: LlmUse) {
        self.known().insert(call, llm);
        self.more.notify_one();
    }

    /// A call is settled. What is being written at this moment comes after that, and tells nobody anything.
    pub(super) fn forget(&self, call: EventId) {
        self.known().remove(&call);
    }

    /// Writes it, in time.
    pub(super) async fn write(&self, events: &Events) {
        loop {
            self.more.notified().await;
            sleep(PERIOD).await;
            let known = std::mem::take(&mut *self.known());
            known.into_values().for_each(|llm| events.progress(llm));
        }
    }
}
