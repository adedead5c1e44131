//! What was refused lately, for the agent to ask about: the newest last, the same refusal once, with its number.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use chiton_audit::{Event, Request};
use chiton_policy::Denial;
use serde::Serialize;

use crate::limits;

/// One refusal, as it is told inside.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    /// When it was last refused, RFC 3339.
    time: String,
    /// The audit event of that time.
    event: String,
    /// How often, as far as it is remembered.
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

impl Told {
    fn is_like(&self, other: &Self) -> bool {
        self.reason == other.reason && self.rule == other.rule && self.request == other.request
    }
}

/// The last of them.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<VecDeque<Told>>);

impl Denials {
    /// Remembers a refusal that was written.
    pub(crate) fn remember(&self, event: &Event, denial: Option<&Denial>) {
        let mut told = Told {
            time: event.time.to_string(),
            event: event.id.to_string(),
            count: 1,
            reason: event.reason.as_ref().map(ToString::to_string),
            rule: event.rule.clone(),
            request: event.request.clone(),
            detail: denial.map(Denial::detail),
            suggestion: denial.and_then(Denial::suggestion),
        };
        // Longer ones are rare, and every one of them is the agent's own.
        if told
            .request
            .as_ref()
            .and_then(|request| request.path.as_ref())
            .is_some_and(|path| path.len() > 1024)
        {
            (told.request, told.detail, told.suggestion) = (None, None, None);
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|known| known.is_like(&told))
            && let Some(known) = all.remove(at)
        {
            told.count += known.count;
        }
        if all.len() >= limits::DENIALS_TOLD {
            all.pop_front();
        }
        all.push_back(told);
    }

    /// All that is remembered, the newest first.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}
