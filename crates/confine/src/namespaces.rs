//! Stage 1: the namespaces, and the identity in them.
//!
//! In: a process with one thread, of an ordinary user or of root. Out: the same process with every capability
//! in a user namespace of its own and none outside of it, and never with the host's uid 0. As root a helper
//! process stays behind outside, to write the maps and to open the policy's folders ([`crate::folders`]);
//! when that is done no process of root's is left.

use chiton_sys::{
    Errno,
    namespace::{self, IdMap, UnshareFlags},
    process,
};
use rustix::{
    fs::{Gid, Uid},
    mount::{MountPropagationFlags, mount_change},
};
use serde::{Deserialize, Serialize};

use crate::folders::{FolderError, Folders, Helper};

/// The agent's uid and gid inside where the host's ids are mapped.
pub const MAPPED_ID: u32 = 1000;

/// Who the agent is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The caller itself, an ordinary user: its ids are mapped one to one.
    Caller,
    /// The same, where its ids appear inside as these.
    Shown {
        /// The uid inside.
        uid: u32,
        /// The gid inside.
        gid: u32,
    },
    /// The caller is root: this id, which is nobody else's, appears as [`MAPPED_ID`] inside.
    Mapped {
        /// Uid and gid on the host, never 0.
        host_id: u32,
    },
}

/// The process after [`enter`].
#[derive(Debug)]
pub struct Entered {
    /// Its uid inside.
    pub uid: u32,
    /// Its gid inside.
    pub gid: u32,
    /// Opens the policy's folders.
    pub folders: Folders,
}

/// Why the namespaces could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Root must not be the agent, and is not mapped.
    #[error("the sandbox of root needs a host id that is not 0: the agent never runs as the host's root")]
    RootIdentity,
    /// The kernel or the distribution does not let this user make them.
    #[error(
        "cannot make namespaces: {source}; `chiton doctor` says what this machine lacks and how to allow it"
    )]
    Refused {
        /// What the kernel said.
        source: Errno,
    },
    /// A step on the way failed.
    #[error("cannot set up namespaces: {doing}: {source}")]
    Step {
        /// Which step.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The helper that keeps root's rights for a moment failed.
    #[error(transparent)]
    Helper(#[from] FolderError),
}

/// Enters new user, mount, network, IPC, UTS and cgroup namespaces. The pid namespace follows with
/// [`new_pid_namespace`].
pub fn enter(identity: Identity, host_name: &str) -> Result<Entered, NamespaceError> {
    let entered = match identity {
        Identity::Caller => enter_as_caller(None)?,
        Identity::Shown { uid, gid } => enter_as_caller(Some((uid, gid)))?,
        Identity::Mapped { host_id } => enter_mapped(host_id)?,
    };
    process::set_host_name(host_name).map_err(step("setting the host name"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(step("making mounts private"))?;
    process::set_umask(0);
    Ok(entered)
}

/// From here on the children of this process, the first of which is PID 1, are in a pid namespace of their own.
pub fn new_pid_namespace() -> Result<(), NamespaceError> {
    namespace::unshare(UnshareFlags::NEWPID).map_err(step("making a pid namespace"))
}

fn enter_as_caller(shown: Option<(u32, u32)>) -> Result<Entered, NamespaceError> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if own.0 == 0 {
        return Err(NamespaceError::RootIdentity);
    }
    let (uid, gid) = shown.unwrap_or(own);
    // An exec of a file that this user cannot read, or a change of ids before, made the process undumpable, and
    // then its own maps belong to root.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(step("opening the process's own files"))?;
    unshare_all()?;
    let map = |inside, outside| IdMap { inside, outside };
    namespace::write_id_maps(None, map(uid, own.0), map(gid, own.1), true)
        .map_err(|e| NamespaceError::Step { doing: "writing the id maps", source: errno(&e) })?;
    Ok(Entered { uid, gid, folders: Folders::here() })
}

fn enter_mapped(host_id: u32) -> Result<Entered, NamespaceError> {
    if host_id == 0 {
        return Err(NamespaceError::RootIdentity);
    }
    let helper = Helper::start()?;
    unshare_all()?;
    helper.write_maps(IdMap { inside: MAPPED_ID, outside: host_id })?;
    // Every capability is kept: uid 0 is not mapped, so none of this is a change from or to root in here.
    let (uid, gid) = (Uid::from_raw(MAPPED_ID), Gid::from_raw(MAPPED_ID));
    rustix::thread::set_thread_groups(&[]).map_err(step("dropping groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(step("changing the gid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(step("changing the uid"))?;
    Ok(Entered { uid: MAPPED_ID, gid: MAPPED_ID, folders: Folders::by(helper) })
}

fn unshare_all() -> Result<(), NamespaceError> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    namespace::unshare(flags).map_err(|source| NamespaceError::Refused { source })
}

fn step(doing: &'static str) -> impl FnOnce(Errno) -> NamespaceError {
    move |source| NamespaceError::Step { doing, source }
}

/// The number behind an error of the standard library.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
