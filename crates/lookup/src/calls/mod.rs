//! What is done for each call, on objects that are held and judged.
//!
//! A path to one of our own descriptors is its number alone: a worker's working directory is the directory of
//! our descriptors, on a procfs that shows us. The kernel follows it to the object, and no further.

pub(crate) mod attr;
pub(crate) mod create;
pub(crate) mod directory;
pub(crate) mod exec;
pub(crate) mod interpreter;
pub(crate) mod list;
mod mounts;
pub(crate) mod open;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod socket;
pub(crate) mod stat;
pub(crate) mod time;
pub(crate) mod xattr;

use chiton_sys::Result;

use crate::request::Request;

/// Makes the numbers of our descriptors paths, for calls that take nothing but a path.
pub(crate) fn in_own_directory(request: &Request<'_>) -> Result<()> {
    rustix::process::fchdir(&request.shared.judge.own)
}
