//! The system call filter: data first, then its program.
//!
//! In: the baseline tables, the calls that a policy blocks. Out: classic BPF. Order of judgement: architecture,
//! x32, then the number's [`Disposition`]; a number in no table is answered `ENOSYS`. x86_64 only.

mod baseline;
mod bpf;
mod conditions;
mod siblings;

use std::collections::BTreeMap;

use chiton_sys::seccomp::Instruction;
use serde::Serialize;

pub use crate::seccomp::{conditions::Condition, siblings::siblings};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Straight to the kernel.
    Allow,
    /// The outer supervisor is asked: the call names a path or an address.
    Notify,
    /// The outer supervisor is asked, to write the event; the answer is always `EPERM`.
    Blocked,
    /// `EPERM`.
    Refuse,
    /// `ENOSYS`.
    Missing,
    /// By the call's arguments.
    When(Condition),
}

/// The filter as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeccompPlan {
    /// Every number that is not simply missing.
    pub calls: BTreeMap<u32, Disposition>,
    /// Whether a notified call may be interrupted by fatal signals only (kernel 5.19 and later).
    pub wait_killable: bool,
}

impl SeccompPlan {
    /// The baseline with the policy's blocked calls on top.
    #[must_use]
    pub fn new(blocked: impl IntoIterator<Item = u32>, wait_killable: bool) -> Self {
        let mut calls = baseline::baseline();
        for number in blocked {
            for number in siblings(number) {
                calls.insert(number, Disposition::Blocked);
            }
        }
        Self { calls, wait_killable }
    }

    /// What happens to a call number.
    #[must_use]
    pub fn disposition(&self, number: u32) -> Disposition {
        self.calls.get(&number).copied().unwrap_or(Disposition::Missing)
    }

    /// Whether the supervisor must answer `EPERM` to a notification of this number, and write an event.
    #[must_use]
    pub fn is_blocked(&self, number: u32) -> bool {
        self.disposition(number) == Disposition::Blocked
    }

    /// The program.
    #[must_use]
    pub fn assemble(&self) -> Vec<Instruction> {
        bpf::assemble(&self.calls)
    }
}
