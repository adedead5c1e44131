//! The static half: what exists in a sandbox, and how much of the machine it gets.

use std::time::Duration;

use super::paths::{DeniedPattern, PolicyPath};
use crate::{names::EnvName, patterns::FileGlob, syscalls::Syscall};

/// What is fixed when a sandbox is created.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed {
    /// What exists in its filesystem.
    pub filesystem: FilesystemRules,
    /// Which calls and programs it may use.
    pub process: ProcessRules,
    /// How much of the machine it gets.
    pub resources: Resources,
    /// Which devices.
    pub gpu: Gpu,
}

/// `static.filesystem`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilesystemRules {
    /// The agent reads and writes these.
    pub allowed: Vec<PolicyPath>,
    /// The agent reads and executes these.
    pub read_only: Vec<PolicyPath>,
    /// Nothing at or under these exists for the agent.
    pub denied: Vec<DeniedPattern>,
    /// Built-in protections that are lifted.
    pub unprotected: Vec<Protection>,
    /// Whether the workspace is the host's folder itself.
    pub workspace: WorkspaceMode,
}

/// How the workspace enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkspaceMode {
    /// The host's folder itself.
    #[default]
    Live,
    /// A copy-on-write layer.
    Staged,
}

/// A built-in protection: something in the workspace that the host would run or believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protection {
    /// `.git/hooks`
    GitHooks,
    /// `.git/config`
    GitConfig,
    /// `.git/modules`
    GitModules,
    /// `.git`, where it is a file and not a folder.
    GitFile,
    /// `.envrc`
    Envrc,
    /// `.vscode`
    Vscode,
    /// `.idea`
    Idea,
    /// The policy file in use. Cannot be lifted.
    PolicyFile,
}

impl Protection {
    /// Those that `unprotected` can lift.
    pub const LIFTABLE: [Protection; 7] = [
        Protection::GitHooks,
        Protection::GitConfig,
        Protection::GitModules,
        Protection::GitFile,
        Protection::Envrc,
        Protection::Vscode,
        Protection::Idea,
    ];

    /// As written in `unprotected`: its path in the workspace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Protection::GitHooks => ".git/hooks",
            Protection::GitConfig => ".git/config",
            Protection::GitModules => ".git/modules",
            Protection::GitFile => ".git",
            Protection::Envrc => ".envrc",
            Protection::Vscode => ".vscode",
            Protection::Idea => ".idea",
            Protection::PolicyFile => "the policy file",
        }
    }
}

/// `static.process`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessRules {
    /// Refused with EPERM, on top of the baseline.
    pub blocked_syscalls: Vec<Syscall>,
    /// Which files may be executed; none means any readable one.
    pub allowed_binaries: Option<Vec<FileGlob>>,
    /// Variables that the agent gets.
    pub env: Vec<EnvEntry>,
}

/// One variable of the agent's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvEntry {
    /// With this value.
    Give {
        /// The variable.
        name: EnvName,
        /// Its value.
        value: String,
    },
    /// The caller's own, passed through.
    Pass(EnvName),
}

impl EnvEntry {
    /// Which variable.
    #[must_use]
    pub const fn name(&self) -> &EnvName {
        match self {
            EnvEntry::Give { name, .. } | EnvEntry::Pass(name) => name,
        }
    }
}

/// `static.resources`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// What it may write to private folders.
    pub disk: Option<ByteSize>,
    /// How long it may run.
    pub wall_time: Option<WallTime>,
}

/// A number of processors, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Thousandths of one processor; never 0.
    pub millis: u32,
}

/// A number of bytes; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A time to run; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime(pub Duration);

/// `static.gpu`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gpu {
    /// None.
    #[default]
    None,
    /// All there are.
    All,
    /// So many; never 0.
    Count(u32),
    /// These, by their names in the Container Device Interface, all of the class `gpu`.
    Cdi(Vec<String>),
}
