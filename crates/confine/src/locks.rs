//! Stage 4: what a process loses before it runs anything.
//!
//! In: the plan, in the finished view. Out: for the agent a process without capabilities, without a way to new
//! ones, under Landlock and the seccomp filter, and the listener of the filter's questions. Our own processes
//! lose what they no longer need.

mod agent;
mod own;
mod ruleset;

pub use crate::locks::{
    agent::{AgentLocks, Applied, LockError},
    own::{apply_to_init, apply_to_outer},
    ruleset::{LandlockPlan, LandlockReport, Right},
};
