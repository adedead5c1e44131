//! Confinement of a process: probe the host, plan, apply, report.
//!
//! In: the static half of a policy and what this host can do. Out: a [`plan::ConfinementPlan`], which is data
//! that can be printed, and the stages that apply it, in this order and by these processes:
//!
//! 0. [`cgroup::Group`]: made by the driver, on the host, which puts the supervisor into it; the agent's first process goes
//!    into the part that counts processes before it starts one.
//! 1. [`namespaces::enter`]: the supervisor, before anything else; it has one thread.
//! 2. [`capture::build`]: the supervisor; the listeners it returns are handed out of the sandbox.
//! 3. [`view::View`]: `assemble` by the supervisor or by PID 1, then `mount_proc` by PID 1, then `enter`.
//! 4. [`locks::AgentLocks`]: prepared once in the finished view, applied in every process that is started.
//!
//! What cannot be applied is an error, and the sandbox does not start: no stage skips anything silently.

pub mod capture;
pub mod cgroup;
pub mod folders;
pub mod locks;
pub mod namespaces;
pub mod plan;
pub mod probe;
pub mod seccomp;
pub mod view;

pub use crate::{
    namespaces::{Entered, Identity},
    plan::{ConfinementPlan, PlanInputs, StaticRules},
    probe::{HostFacts, HostProbe},
};
