//! The locks of every process that is started for the agent.

use std::os::fd::OwnedFd;

use chiton_sys::{
    Errno,
    capability::{self, CapabilitySet},
    descriptors, process,
    seccomp::{self, Instruction, Wait},
    signal,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    locks::ruleset::{LandlockReport, Ruleset},
    plan::{ConfinementPlan, Limits},
};

/// The locks, prepared once in the finished view; shared by every start.
#[derive(Debug)]
pub struct AgentLocks {
    limits: Limits,
    ruleset: Ruleset,
    program: Vec<Instruction>,
    wait: Wait,
}

/// The locks hold.
#[derive(Debug)]
pub struct Applied {
    /// The seccomp filter's listener: handed to the outer supervisor before the exec, which already waits for it.
    pub listener: OwnedFd,
}

/// Why a process could not be locked. It must not run then.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A step failed.
    #[error("cannot lock the process down: {doing}: {source}")]
    Step {
        /// Which.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// Landlock's ruleset.
    #[error("cannot lock the process down: landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// Landlock was applied, but not as planned.
    #[error("cannot lock the process down: landlock enforces less than was prepared")]
    LandlockPartial,
}

impl AgentLocks {
    /// Opens the ruleset's paths and assembles the filter. In the view, after it was entered.
    pub fn prepare(plan: &ConfinementPlan) -> Result<Self, LockError> {
        Ok(Self {
            limits: plan.limits,
            ruleset: Ruleset::prepare(&plan.landlock)?,
            program: plan.seccomp.assemble(),
            wait: if plan.seccomp.wait_killable { Wait::KillableOnceReceived } else { Wait::Interruptible },
        })
    }

    /// What Landlock will enforce, as its own library says.
    pub fn landlock(&self) -> &LandlockReport {
        self.ruleset.report()
    }

    /// Locks the calling process, which is a fresh child with one thread, just before its exec: signals, descriptors,
    /// limits, capabilities, `no_new_privs`, Landlock, and seccomp last. Every descriptor from 3 up is closed by the
    /// exec. From here on only the calls that the filter passes work, and those that it asks about wait for the
    /// listener's holder: between this and the exec use `sendmsg`, `write`, `close` and `exit` only.
    pub fn apply(&self) -> Result<Applied, LockError> {
        signal::reset().map_err(step("resetting signals"))?;
        descriptors::close_on_exec_from(3).map_err(step("closing descriptors"))?;
        process::set_umask(0o022);
        limit(self.limits)?;
        capability::keep_only(CapabilitySet::empty()).map_err(step("emptying the capability sets"))?;
        process::set_no_new_privs().map_err(step("giving up new privileges"))?;
        self.ruleset.apply()?;
        let listener = seccomp::load_with_listener(&self.program, self.wait)
            .map_err(step("loading the system call filter"))?;
        Ok(Applied { listener })
    }
}

fn limit(limits: Limits) -> Result<(), LockError> {
    let wanted = [
        (Resource::Core, limits.core, "limiting core files"),
        (Resource::Nofile, limits.descriptors, "limiting descriptors"),
        (Resource::Nproc, limits.processes, "limiting processes"),
    ];
    for (resource, most, doing) in wanted {
        // Never above what the caller itself has: that would need a privilege.
        let now = rustix::process::getrlimit(resource);
        let at_most = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
        let limit = Rlimit { current: at_most(now.current), maximum: at_most(now.maximum) };
        setrlimit(resource, limit).map_err(step(doing))?;
    }
    Ok(())
}

pub(crate) fn step(doing: &'static str) -> impl FnOnce(Errno) -> LockError {
    move |source| LockError::Step { doing, source }
}
