//! Namespaces and the maps of a user namespace.

use std::{
    fs,
    io::{self, Write as _},
};

use rustix::process::Pid;
pub use rustix::thread::UnshareFlags;

use crate::{Errno, Result};

/// One id inside for one id outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The id inside the namespace (for an id-mapped mount: on the disk).
    pub inside: u32,
    /// The id in the parent namespace (for an id-mapped mount: as seen through the mount).
    pub outside: u32,
}

/// Leaves the given namespaces for new ones. A new user namespace needs a process with one thread (the
/// kernel answers `EINVAL` otherwise). `FILES` is refused: descriptors stay one table.
pub fn unshare(flags: UnshareFlags) -> Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the descriptor table is not unshared, which is the call's only condition.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Writes the maps of the user namespace of `pid`, or of this process. `deny_setgroups` is what an
/// unprivileged writer must do first.
pub fn write_id_maps(pid: Option<Pid>, uid: IdMap, gid: IdMap, deny_setgroups: bool) -> io::Result<()> {
    let folder = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{}", pid.as_raw_nonzero()));
    if deny_setgroups {
        write_at_once(&format!("{folder}/setgroups"), "deny")?;
    }
    write_at_once(&format!("{folder}/uid_map"), &format!("{} {} 1\n", uid.inside, uid.outside))?;
    write_at_once(&format!("{folder}/gid_map"), &format!("{} {} 1\n", gid.inside, gid.outside))
}

/// The kernel takes a map in one write only, and a file that is opened, never made.
fn write_at_once(path: &str, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}
