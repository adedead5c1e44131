//! Values that a server gave, kept for as long as they hold: one question for a reference and its lifetime, whoever asks.
//!
//! ```text
//! nothing ── asked ──► fresh ── refresh ──► due ── given again ──► fresh
//!    ▲                                       │ not given: asked again after a pause, and used meanwhile
//!    └──────── its time is over, or the server says that there is no such value ◄┘
//! ```

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chiton_secret::{Scheme, SecretRef};
use tokio::time::Instant;

use crate::{Fault, Fetched, Lifetime, Resolved};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A server that asks for a longer pause than that does not get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A value that upstream refuses is asked for again once, and the same one not again before this has passed.
const REJECTED_PAUSE: Duration = Duration::from_secs(60);

/// How new a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// One that is kept will do while it is not due.
    Kept,
    /// The server is asked.
    Anew,
    /// The server that it went to refused it: its store is asked once, since it may have another by now.
    Rejected,
}

/// How long a value that is kept still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// It is to be asked for again after this time.
    pub refresh: Duration,
    /// It is not to be used after this time.
    pub valid: Duration,
    /// Another one with every other value that the server gives.
    pub version: u64,
}

/// Keeps the value of a reference from being forgotten.
pub struct Hold(#[expect(dead_code, reason = "it is held, not read")] Arc<Slot>);

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

#[derive(Default)]
pub(crate) struct KeptValues {
    slots: Mutex<HashMap<SecretRef, Arc<Slot>>>,
    versions: AtomicU64,
}

#[derive(Default)]
struct Slot(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    known: Option<Known>,
    version: u64,
    failures: u32,
    /// Not asked again before.
    retry: Option<Instant>,
    rejected: Option<Instant>,
}

struct Known {
    fetched: Fetched,
    at: Instant,
    lifetime: Lifetime,
}

impl KeptValues {
    /// The value as it is kept, or what `ask` says.
    pub(crate) async fn get(
        &self,
        reference: &SecretRef,
        freshness: Freshness,
        ask: impl Future<Output = Result<Fetched, Fault>>,
    ) -> Result<Resolved, Fault> {
        let slot = self.slot(reference);
        let mut state = slot.0.lock().await;
        let now = Instant::now();
        state.forget_old(now);
        if !state.asks(freshness, now)
            && let Some(resolved) = state.resolved(now, None)
        {
            return Ok(resolved);
        }
        match ask.await {
            Ok(fetched) => Ok(state.took(fetched, now, &self.versions)),
            Err(fault) => state.failed(fault),
        }
    }

    /// Keeps what is known of a reference until the hold is dropped.
    pub(crate) fn hold(&self, reference: &SecretRef) -> Hold {
        Hold(self.slot(reference))
    }

    /// Forgets what nobody holds.
    pub(crate) fn forget_unheld(&self) {
        self.slots().retain(|_, slot| Arc::strong_count(slot) > 1);
    }

    /// Forgets everything of a scheme: it came from another server, or by another's right.
    pub(crate) fn clear(&self, scheme: Scheme) {
        self.slots().retain(|reference, _| reference.scheme() != scheme);
    }

    fn slot(&self, reference: &SecretRef) -> Arc<Slot> {
        Arc::clone(self.slots().entry(reference.clone()).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<SecretRef, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, now: Instant) {
        self.known.take_if(|known| known.age(now) >= known.lifetime.valid);
    }

    /// Whether the server is asked.
    fn asks(&mut self, freshness: Freshness, now: Instant) -> bool {
        let Some(known) = &self.known else { return true };
        match freshness {
            Freshness::Anew => true,
            Freshness::Rejected => {
                let lately = self.rejected.is_some_and(|at| now.duration_since(at) < REJECTED_PAUSE);
                if !lately {
                    self.rejected = Some(now);
                }
                !lately
            }
            Freshness::Kept => {
                known.age(now) >= known.lifetime.refresh && self.retry.is_none_or(|retry| now >= retry)
            }
        }
    }

    fn took(&mut self, fetched: Fetched, asked: Instant, versions: &AtomicU64) -> Resolved {
        let Some(lifetime) = fetched.lifetime else {
            return Resolved::of(fetched, None);
        };
        let same = |known: &Known| known.fetched.value == fetched.value;
        if !self.known.as_ref().is_some_and(same) {
            self.version = versions.fetch_add(1, Ordering::Relaxed) + 1;
            self.rejected = None;
        }
        (self.failures, self.retry) = (0, None);
        let lease = Lease { refresh: lifetime.refresh, valid: lifetime.valid, version: self.version };
        let resolved = Resolved::of(fetched.clone(), Some(lease));
        self.known = Some(Known { fetched, at: asked, lifetime });
        resolved
    }

    fn failed(&mut self, fault: Fault) -> Result<Resolved, Fault> {
        let now = Instant::now();
        if fault.is_final() {
            // Wiped here.
            *self = Self { version: self.version, ..Self::default() };
            return Err(fault);
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)).min(LAST_PAUSE);
        let pause = fault.retry_after().map_or(doubled, |told| told.clamp(FIRST_PAUSE, LONGEST_PAUSE));
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(now + pause);
        self.forget_old(now);
        self.resolved(now, Some(&fault)).ok_or(fault)
    }

    /// What is kept, with what is left of its time.
    fn resolved(&self, now: Instant, fault: Option<&Fault>) -> Option<Resolved> {
        let known = self.known.as_ref()?;
        let age = known.age(now);
        let due = known.lifetime.refresh.saturating_sub(age);
        let refresh = self.retry.map_or(due, |retry| due.max(retry.saturating_duration_since(now)));
        let valid = known.lifetime.valid.saturating_sub(age);
        let mut resolved =
            Resolved::of(known.fetched.clone(), Some(Lease { refresh, valid, version: self.version }));
        if let Some(fault) = fault {
            let (age, left) = (age.as_secs(), valid.as_secs());
            resolved.warning =
                Some(format!("{fault}; the value of {age} s ago is used for {left} s more at most"));
        }
        Some(resolved)
    }
}

impl Known {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultError;
    use chiton_secret::SecretValue;

    const LIFETIME: Lifetime = Lifetime { refresh: Duration::from_secs(60), valid: Duration::from_secs(600) };

    fn given(value: &str) -> Result<Fetched, Fault> {
        let value = SecretValue::new(value.as_bytes().to_vec());
        Ok(Fetched { value, hosts: None, written: None, lifetime: Some(LIFETIME), warning: None })
    }

    fn sealed() -> Result<Fetched, Fault> {
        Err(VaultError::Sealed.into())
    }

    struct Asked(KeptValues, SecretRef);

    impl Asked {
        fn new() -> Self {
            Self(KeptValues::default(), "vault://kv/key".parse().unwrap())
        }

        /// The value and its version, and whether the server was asked.
        async fn get(
            &self,
            freshness: Freshness,
            answer: Result<Fetched, Fault>,
        ) -> (Result<(String, Lease), Fault>, bool) {
            let mut asked = false;
            let ask = async {
                asked = true;
                answer
            };
            let got = self.0.get(&self.1, freshness, ask).await.map(|resolved| {
                let value = String::from_utf8(resolved.value.dangerous_expose().to_vec()).unwrap();
                (value, resolved.lease.unwrap())
            });
            (got, asked)
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn asked_once_for_a_lifetime_and_again_when_due() {
        let asked = Asked::new();
        let (first, _) = asked.get(Freshness::Kept, given("first")).await;
        assert_eq!(first.unwrap().1.version, 1);
        pass(59).await;
        let (kept, was) = asked.get(Freshness::Kept, given("second")).await;
        assert_eq!((kept.unwrap().0.as_str(), was), ("first", false));
        let (anew, was) = asked.get(Freshness::Anew, given("first")).await;
        assert_eq!((anew.unwrap().1.version, was), (1, true), "the same value is no other version");
        pass(60).await;
        let (due, was) = asked.get(Freshness::Kept, given("second")).await;
        let (value, lease) = due.unwrap();
        assert_eq!((value.as_str(), lease.version, was), ("second", 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_value_is_used_while_it_holds_and_no_longer() {
        let asked = Asked::new();
        let _ = asked.get(Freshness::Kept, given("first")).await.0.unwrap();
        pass(60).await;
        let (kept, was) = asked.get(Freshness::Kept, sealed()).await;
        let (value, lease) = kept.unwrap();
        assert_eq!((value.as_str(), was), ("first", true));
        assert_eq!((lease.refresh, lease.valid), (FIRST_PAUSE, Duration::from_secs(540)));
        // Not asked before the pause is over, and then after a longer one.
        assert!(!asked.get(Freshness::Kept, sealed()).await.1);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            pass(pause).await;
            assert!(asked.get(Freshness::Kept, sealed()).await.1, "after {pause} s");
            pass(0).await;
            assert!(!asked.get(Freshness::Kept, sealed()).await.1);
        }
        pass(540).await;
        assert!(asked.get(Freshness::Kept, sealed()).await.0.is_err());
        assert!(asked.get(Freshness::Kept, given("first")).await.0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten_at_once() {
        let asked = Asked::new();
        let _ = asked.get(Freshness::Kept, given("first")).await.0.unwrap();
        let gone = || Err(VaultError::Missing { field: None }.into());
        assert!(asked.get(Freshness::Anew, gone()).await.0.is_err());
        assert!(
            asked.get(Freshness::Kept, sealed()).await.0.is_err(),
            "the first value is not used any more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_value_is_asked_for_again_once() {
        let asked = Asked::new();
        let _ = asked.get(Freshness::Kept, given("first")).await.0.unwrap();
        assert!(asked.get(Freshness::Rejected, given("first")).await.1);
        assert!(!asked.get(Freshness::Rejected, given("first")).await.1);
        pass(30).await;
        assert!(!asked.get(Freshness::Rejected, given("first")).await.1);
        let _ = asked.get(Freshness::Anew, given("second")).await.0.unwrap();
        assert!(asked.get(Freshness::Rejected, given("third")).await.1, "another value may be rejected too");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_holds_is_forgotten() {
        let asked = Asked::new();
        let hold = asked.0.hold(&asked.1);
        let _ = asked.get(Freshness::Kept, given("first")).await.0.unwrap();
        asked.0.forget_unheld();
        assert!(!asked.get(Freshness::Kept, given("first")).await.1);
        drop(hold);
        asked.0.forget_unheld();
        assert!(asked.get(Freshness::Kept, given("first")).await.1);
    }
}
