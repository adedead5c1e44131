//! System calls: the only crate with unsafe code.
//!
//! What `rustix` offers safely is used from there by everybody; here is only what it lacks, or what needs
//! a stated condition to be safe. In: plain values and borrowed descriptors. Out: owned descriptors and
//! [`Errno`]. Every descriptor made here is close-on-exec. x86_64 only: call numbers and the filter's
//! architecture are that machine's.
#![expect(unsafe_code, reason = "this crate is where unsafe code lives; each block states its conditions")]

pub mod capability;
pub mod cgroup;
pub mod descriptors;
pub mod file;
pub mod first;
pub mod landlock;
pub mod memory;
pub mod mount;
mod mounts;
pub mod namespace;
pub mod netlink;
pub mod notify;
pub mod path;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;

pub use rustix::io::{Errno, Result};

/// The value of a raw system call's return: `-1` with `errno` becomes the error.
fn check(returned: libc::c_long) -> Result<libc::c_long> {
    if returned == -1 { Err(last_errno()) } else { Ok(returned) }
}

/// The error of the C library's last call on this thread.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
