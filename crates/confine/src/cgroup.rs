//! Limits of a whole sandbox: what control groups this host lets us make, and the group of one sandbox.
//!
//! In: what is asked for, `/proc/self/mountinfo` and `/proc/self/cgroup`. Out: a [`Group`], which is plain data until
//! it is made, so that it can be written down first and removed by whoever finds it. Version 2 where a group with the
//! controllers is ours, version 1 where the host has only that and lets us write there.
//!
//! ```text
//! <group>          memory, cpu: the whole sandbox, its supervisor too
//! ├── supervisor   version 2 with `pids` only: a group with controllers for those below holds no process itself
//! └── inside       pids: the first process inside and all that come from it, never the supervisor's own threads
//! ```

mod find;
mod group;

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::cgroup::{
    find::{GroupHost, Lacking, settle},
    group::Group,
};

/// What a group is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimits {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processes and threads that the agent may have.
    pub pids: Option<u32>,
}

impl GroupLimits {
    /// Which controllers it takes.
    #[must_use]
    pub fn controllers(&self) -> Vec<Controller> {
        let asked = [
            (Controller::Cpu, self.cpu_millis.is_some()),
            (Controller::Memory, self.memory.is_some()),
            (Controller::Pids, self.pids.is_some()),
        ];
        asked.into_iter().filter(|(_, asked)| *asked).map(|(controller, _)| controller).collect()
    }
}

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All that are used.
    pub const ALL: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

    /// As the kernel calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which interface a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A tree for each controller.
    V1,
    /// One tree.
    V2,
}

/// How often a group ran into its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupHits {
    /// Processes that were killed for want of memory.
    pub out_of_memory: u64,
    /// Processes and threads that were not begun.
    pub pids: u64,
}

/// A step of making, joining or removing a group failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the control group `{path}`: {source}")]
pub struct GroupError {
    /// `make`, `join`, `remove`.
    pub doing: &'static str,
    /// Which file or folder.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}
