//! The static half of a policy, as the plan needs it: plain paths and call numbers.

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What `static` of a policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRules {
    /// `allowed_paths`, `~` already replaced, without what `/workspace` is.
    pub allowed: Vec<PathBuf>,
    /// `read_only_paths`, the same.
    pub read_only: Vec<PathBuf>,
    /// `denied_paths`.
    pub denied: Vec<DeniedPath>,
    /// `unprotected`: built-in protections that are lifted, by name (`.git/config`).
    pub unprotected: BTreeSet<String>,
    /// `blocked_syscalls`, as numbers.
    pub blocked_calls: BTreeSet<u32>,
    /// `disk`: bytes of all private folders together; without it each has a size of its own.
    #[serde(default)]
    pub disk: Option<u64>,
    /// `pids`: of the sandbox's control group, which the limit of its user must not undercut.
    #[serde(default)]
    pub pids: Option<u32>,
}

/// An entry of `denied_paths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeniedPath {
    /// A path inside.
    Literal(PathBuf),
    /// A glob, absolute or beginning with `**/`.
    Glob(String),
}
