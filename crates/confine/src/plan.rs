//! The plan: everything that is going to be applied, as data.
//!
//! In: the policy's static half, the host's facts, and where things are. Out: a [`ConfinementPlan`], which prints
//! as JSON. It reads which of the system's folders and files the host has, and changes nothing.

mod build;
mod etc;
mod protect;
mod rules;
mod system;

use std::path::PathBuf;

use serde::Serialize;

pub use crate::plan::{
    build::{folders, plan},
    rules::{DeniedPath, StaticRules},
};
use crate::{
    folders::FolderRequest, locks::LandlockPlan, namespaces::Identity, seccomp::SeccompPlan, view::Step,
};

/// The home inside.
pub const HOME: &str = "/home/agent";
/// The workspace inside.
pub const WORKSPACE: &str = "/workspace";
/// The agent's name in `/etc/passwd` inside.
pub const USER: &str = "agent";
/// The resolver that `/etc/resolv.conf` inside names; its questions are captured.
pub const RESOLVER: &str = "198.18.0.2";
/// The bundle of trusted roots inside, that the variables of the sandbox point to.
pub const TRUST_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The empty file that hides a denied file, and the empty folder that hides a denied folder, while the view is
/// assembled. They are gone when it is entered.
pub(crate) const MASK_FILE: &str = "/.mask-file";
/// Where the one filesystem of the private folders hangs while the view is assembled, where they share one.
pub(crate) const PRIVATE: &str = "/.private";
/// See [`MASK_FILE`].
pub(crate) const MASK_FOLDER: &str = "/.mask-folder";

/// Where things are for one sandbox.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    /// The sandbox's name: its host name.
    pub name: String,
    /// Who the agent is.
    pub identity: Identity,
    /// The agent's uid inside.
    pub uid: u32,
    /// The agent's gid inside.
    pub gid: u32,
    /// The host folder that is `/workspace` inside, canonical; none where the policy does not list it.
    pub workspace: Option<PathBuf>,
    /// The caller's home on the host, which is never shared whole.
    pub caller_home: PathBuf,
    /// Paths that are read-only besides the policy's.
    pub extra_read_only: Vec<PathBuf>,
    /// Chiton's own folders, which never enter.
    pub own_folders: Vec<PathBuf>,
    /// The policy file in use, as seen inside, where it lies in the workspace.
    pub policy_file: Option<PathBuf>,
    /// Device nodes that enter beside the usual ones.
    pub devices: Vec<PathBuf>,
    /// What comes with them and is no part of the system's folders, read-only.
    pub device_files: Vec<PathBuf>,
    /// Whose files the system's folders are.
    pub system: System,
    /// The certificate (PEM) of the sandbox's authority.
    pub authority_pem: String,
}

/// Whose files the system's folders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum System {
    /// This machine's: what programs need enters, by name.
    Host,
    /// An image's, which `/` shows: everything enters but what a sandbox has of its own.
    Image,
}

impl PlanInputs {
    /// A sandbox without a workspace, to see whether one can be built.
    pub(crate) fn for_probe(identity: Identity, entered: &crate::namespaces::Entered) -> Self {
        Self {
            name: "probe".to_owned(),
            identity,
            uid: entered.uid,
            gid: entered.gid,
            workspace: None,
            caller_home: PathBuf::from("/nonexistent"),
            extra_read_only: Vec::new(),
            own_folders: Vec::new(),
            policy_file: None,
            devices: Vec::new(),
            device_files: Vec::new(),
            system: System::Host,
            authority_pem: String::new(),
        }
    }
}

/// Everything that is going to be applied.
#[derive(Clone, Debug, Serialize)]
pub struct ConfinementPlan {
    /// Host name of the UTS namespace.
    pub host_name: String,
    /// Who the agent is on the host.
    pub identity: Identity,
    /// Uid inside.
    pub uid: u32,
    /// Gid inside.
    pub gid: u32,
    /// The host's folders that enter; opened before the view is assembled.
    pub folders: FolderRequest,
    /// The view of the filesystem, step by step.
    pub view: Vec<Step>,
    /// Limits of every started process.
    pub limits: Limits,
    /// What Landlock allows.
    pub landlock: LandlockPlan,
    /// Which system calls pass, which are refused, and which are asked about.
    pub seccomp: SeccompPlan,
}

/// Limits of every started process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of a core file: none, since a core file holds a process's memory.
    pub core: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Processes and threads of the sandbox.
    pub processes: u64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A path that must never be shared.
    #[error("`{0}` cannot enter the sandbox: name a folder below it")]
    TooBroad(PathBuf),
    /// A path inside is not absolute, or has `..`.
    #[error("`{0}` is not an absolute path without `..`")]
    NotAbsolute(PathBuf),
    /// More than the set-up carries.
    #[error("the policy shares {0} paths; at most {max} can be", max = chiton_sys::descriptors::MAX_DESCRIPTORS)]
    TooManyFolders(usize),
    /// A call without which nothing starts.
    #[error("`blocked_syscalls` names `{0}`, without which no program can start: take it out")]
    BlocksStart(&'static str),
    /// One of the locks does not exist here.
    #[error("this kernel has no Landlock, or it is switched off: `chiton doctor` says how to switch it on")]
    NoLandlock,
    /// An image leads away what engines put there.
    #[error(
        "the image's `{0}` is a link, and what engines put there would be seen where it leads: make it a folder"
    )]
    ImageLink(PathBuf),
    /// The host's layout could not be read.
    #[error("cannot read `{path}`: {source}")]
    Host {
        /// Which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
