//! What earlier proxies of a sandbox spent, read back from its event file.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use chiton_audit::{Event, EventId, LlmUse, Time};

use super::{Amount, Counted, Ledger};
use crate::rates::MINUTE;

/// An event that sets aside what a call may cost.
pub(crate) const RESERVE: &str = "reserve";
/// An event that settles a call which has no response.
pub(crate) const SETTLE: &str = "settle";
/// An event that says how far a running call is.
pub(crate) const PROGRESS: &str = "progress";

/// The day's part of an event file.
#[derive(Debug)]
pub(crate) struct Past {
    now: Time,
    used: HashMap<String, Amount>,
    /// Calls that nothing has settled.
    open: HashMap<EventId, (String, Amount)>,
    /// The requests of the last minute, by backend.
    requests: HashMap<String, VecDeque<Instant>>,
}

impl Past {
    /// Of an empty file, read now.
    pub(crate) fn new() -> Self {
        Self { now: Time::now(), used: HashMap::new(), open: HashMap::new(), requests: HashMap::new() }
    }

    /// Whether a line may be of interest.
    pub(crate) fn may_tell(line: &str) -> bool {
        line.contains("\"backend\"")
    }

    /// Takes in the next event.
    pub(crate) fn take(&mut self, event: &Event) {
        let Some(LlmUse { backend: Some(backend), .. }) = &event.llm else { return };
        let Some(llm) = &event.llm else { return };
        match event.action.as_str() {
            "request" => self.requested(event.time, backend),
            RESERVE if event.time.day() >= self.now.day() => {
                self.open.insert(event.id, (backend.clone(), Amount::of(llm)));
            }
            // More than was reserved is what it cost; less says nothing of what comes.
            PROGRESS => {
                if let Some((_, amount)) = llm.call.and_then(|call| self.open.get_mut(&call)) {
                    *amount = amount.most(Amount::of(llm));
                }
            }
            "response" | SETTLE => {
                let counts = match llm.call {
                    // One that is not there was of a day that is over.
                    Some(call) => self.open.remove(&call).is_some(),
                    None => event.time.day() >= self.now.day(),
                };
                if counts {
                    self.add(backend, Amount::of(llm));
                }
            }
            _ => {}
        }
    }

    fn requested(&mut self, time: Time, backend: &str) {
        let age = self.now.as_micros().saturating_sub(time.as_micros());
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        if age < MINUTE
            && let Some(moment) = Instant::now().checked_sub(age)
        {
            self.requests.entry(backend.to_owned()).or_default().push_back(moment);
        }
    }

    fn add(&mut self, backend: &str, amount: Amount) {
        let used = self.used.entry(backend.to_owned()).or_default();
        *used = used.plus(amount);
    }

    /// The requests of the last minute.
    pub(crate) fn take_requests(&mut self) -> HashMap<String, VecDeque<Instant>> {
        std::mem::take(&mut self.requests)
    }

    /// The counts to go on with: what nothing settled is spent.
    pub(super) fn into_ledger(mut self) -> Ledger {
        for (backend, amount) in std::mem::take(&mut self.open).into_values() {
            self.add(&backend, amount);
        }
        let used = |used| Counted { used, held: Amount::default() };
        let backends = self.used.into_iter().map(|(backend, amount)| (backend, used(amount))).collect();
        Ledger { day: self.now.day(), backends }
    }
}
