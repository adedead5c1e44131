//! The policy's host folders, as detached mounts that wait for their place in the view.
//!
//! In: host paths. Out: one descriptor each, of a mount that is already `nosuid`, `nodev`, read-only where the
//! policy says so and, as root, id-mapped from the folder's owner to the agent, so that what the agent writes
//! is the owner's on the disk. As root this needs root's rights: a [`Helper`] forked before the namespaces keeps
//! them, does this one thing, and ends.

mod helper;
mod open;

use std::{os::fd::OwnedFd, path::PathBuf};

use chiton_sys::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use crate::folders::helper::Helper;
pub(crate) use crate::folders::open::{IdMappings, open_all};

/// What the agent may do in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Write as well.
    ReadWrite,
}

/// A host folder (or file) that enters the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it is inside.
    pub inside: PathBuf,
    /// What the agent may do there.
    pub access: Access,
}

/// The folders to open, and what none of them may hold or lie in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRequest {
    /// In the order of the plan.
    pub folders: Vec<Folder>,
    /// Chiton's own configuration, state and runtime folders.
    pub forbidden: Vec<PathBuf>,
}

/// Why a folder could not be opened.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum FolderError {
    /// It is not there.
    #[error("`{0}` does not exist on this host: make it, or take it out of the policy")]
    Missing(PathBuf),
    /// It is, or lies behind, a link in another folder of the sandbox.
    #[error("`{0}` leads through a symbolic link in a folder that the agent is given: name what it leads to")]
    Link(PathBuf),
    /// The workspace was named without any link, and one has come into its path since.
    #[error(
        "the workspace `{0}` is no longer the folder that was named: there is a symbolic link in its path"
    )]
    Moved(PathBuf),
    /// It would let the agent reach chiton's own files.
    #[error("`{path}` cannot enter the sandbox: it holds or lies in chiton's own folder `{own}`")]
    Own {
        /// The path in the policy.
        path: PathBuf,
        /// Our folder.
        own: PathBuf,
    },
    /// It leads to the kernel's own.
    #[error("`{0}` leads to the system's own `/proc`, `/sys` or `/dev`, which a sandbox has of its own")]
    Kernels(PathBuf),
    /// Its filesystem cannot map ids.
    #[error("`{0}` lies on a filesystem without id-mapped mounts: use another, or run as an ordinary user")]
    NoIdMap(PathBuf),
    /// Something else.
    #[error("cannot open `{path}` for the sandbox: {doing}: error {errno}")]
    Failed {
        /// The path in the policy.
        path: PathBuf,
        /// What was being done.
        doing: Doing,
        /// The system's error number.
        errno: i32,
    },
    /// The helper did not answer.
    #[error("the helper that opens folders as root failed: error {0}")]
    Helper(i32),
}

/// A step of opening a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doing {
    /// The lookup.
    Open,
    /// Making the detached mount.
    Clone,
    /// Its attributes.
    Restrict,
    /// The user namespace with the map.
    Map,
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "looking it up",
            Self::Clone => "making a mount of it",
            Self::Restrict => "restricting the mount",
            Self::Map => "mapping its owner",
        })
    }
}

/// Opens folders, in this process or by root's helper.
#[derive(Debug)]
pub struct Folders(Option<Helper>);

impl Folders {
    pub(crate) fn here() -> Self {
        Self(None)
    }

    pub(crate) fn by(helper: Helper) -> Self {
        Self(Some(helper))
    }

    /// Opens every folder of the request, in its order, once. Root's helper ends with it, whatever comes out.
    pub fn open(self, request: &FolderRequest) -> Result<Vec<OwnedFd>, FolderError> {
        self.begin(request)?.finish()
    }

    /// Asks for every folder of the request. Root's helper, which sees the host's files for good, opens them while this
    /// process goes on; without one they are opened here, before any of the host's files is out of sight.
    pub fn begin(self, request: &FolderRequest) -> Result<Opening, FolderError> {
        match self.0 {
            None => Ok(Opening(Opened::Here(open_all(request, &mut IdMappings::none())?))),
            Some(helper) => {
                helper.ask_for(request)?;
                Ok(Opening(Opened::By(helper)))
            }
        }
    }
}

/// Folders that were asked for. Root's helper has ended when this is dropped, whatever comes out.
#[derive(Debug)]
pub struct Opening(Opened);

#[derive(Debug)]
enum Opened {
    Here(Vec<OwnedFd>),
    By(Helper),
}

impl Opening {
    /// Every folder of the request, in its order. To be called once.
    pub fn finish(&mut self) -> Result<Vec<OwnedFd>, FolderError> {
        match &mut self.0 {
            Opened::Here(folders) => Ok(std::mem::take(folders)),
            Opened::By(helper) => helper.answer(),
        }
    }
}

impl FolderError {
    pub(crate) fn helper(errno: Errno) -> Self {
        Self::Helper(errno.raw_os_error())
    }
}
