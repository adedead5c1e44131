//! Stage 3: the sandbox's view of the filesystem.
//!
//! In: the plan's steps and the opened folders. Out: a mount namespace in which nothing else is left. The steps
//! are applied as they stand; a missing source that is not optional is an error.

mod assemble;
mod java;
mod matches;
mod proc;
mod step;
mod tree;

use std::{os::fd::OwnedFd, path::PathBuf};

use chiton_sys::Errno;

pub use crate::view::step::{Source, Step};
use crate::{
    plan::ConfinementPlan,
    view::{assemble::Builder, tree::Tree},
};

/// A view that is assembled but not entered yet.
#[derive(Debug)]
pub struct View {
    tree: Tree,
}

/// A view without the host's folders of the policy, and what is above and in them.
#[derive(Debug)]
pub struct Begun<'a> {
    builder: Builder<'a>,
}

/// Why the view could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A step failed.
    #[error("cannot build the sandbox's filesystem: {doing} `{path}`: {source}")]
    Step {
        /// Which step.
        doing: &'static str,
        /// At which path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The plan names a folder that was not opened.
    #[error("cannot build the sandbox's filesystem: folder {0} of the plan was not opened")]
    NoFolder(usize),
}

/// All steps by PID 1: what a caller wants that needs nothing between them.
pub fn build(plan: &ConfinementPlan, folders: Vec<OwnedFd>) -> Result<(), ViewError> {
    let view = View::assemble(plan, folders)?;
    view.mount_proc()?;
    view.enter()
}

impl View {
    /// Mounts everything but `/proc`. `folders` are those of [`crate::folders::Folders::open`], in their order.
    /// In the sandbox's mount namespace, by a process that holds its capabilities.
    pub fn assemble(plan: &ConfinementPlan, folders: Vec<OwnedFd>) -> Result<Self, ViewError> {
        Self::begin(plan)?.finish(folders)
    }

    /// The first part of [`View::assemble`], which needs no folder yet.
    pub fn begin(plan: &ConfinementPlan) -> Result<Begun<'_>, ViewError> {
        Builder::begin(plan).map(|builder| Begun { builder })
    }

    /// Mounts `/proc`. By a process of the pid namespace that it shows, while the host's is still in sight: the
    /// kernel allows a new one only beside one that shows everything.
    pub fn mount_proc(&self) -> Result<(), ViewError> {
        self.tree.mount_proc()
    }

    /// Makes the view the root of every process in this mount namespace and lets go of the host's. Nothing of the
    /// host that is not in the view can be named from here on.
    pub fn enter(self) -> Result<(), ViewError> {
        self.tree.enter()
    }
}

impl Begun<'_> {
    /// The rest, with the folders of [`View::assemble`].
    pub fn finish(self, folders: Vec<OwnedFd>) -> Result<View, ViewError> {
        self.builder.finish(folders).map(|tree| View { tree })
    }
}
