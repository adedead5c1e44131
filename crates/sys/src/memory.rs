//! Another process's memory and descriptors. Every function names it by a thread's number, so a caller has to
//! make sure by other means that the number still means the process it thinks of.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::thread::{self, CapabilitySet};

use crate::{Errno, Result, check};

/// Reads from an address, up to the buffer's length or the end of what is mapped. `EFAULT`: nothing is there.
pub fn read(thread: u32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    transfer(libc::SYS_process_vm_readv, thread, local, address)
}

/// Writes to an address. `EFAULT`: nothing writable is there. Fewer bytes: it ends before.
pub fn write(thread: u32, address: u64, bytes: &[u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    transfer(libc::SYS_process_vm_writev, thread, local, address)
}

/// `local` is the caller's slice: writable for a read, only read from for a write.
fn transfer(number: libc::c_long, thread: u32, local: libc::iovec, address: u64) -> Result<usize> {
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: local.iov_len };
    // SAFETY: `local` describes a slice that lives through the call and may be accessed in the call's direction;
    // the other address belongs to another process and is checked by the kernel.
    let moved = check(unsafe {
        libc::syscall(number, thread, &raw const local, 1usize, &raw const remote, 1usize, 0usize)
    })?;
    usize::try_from(moved).map_err(|_| Errno::IO)
}

/// A descriptor of exactly this thread. On kernels before 6.9 there is one of a process's leader alone: `EINVAL`.
pub fn open_thread(thread: u32) -> Result<OwnedFd> {
    const PIDFD_THREAD: libc::c_long = libc::O_EXCL as libc::c_long;
    match pidfd_open(thread, PIDFD_THREAD) {
        Err(Errno::INVAL) => pidfd_open(thread, 0),
        other => other,
    }
}

/// Whether two threads have one table of descriptors (kcmp(2)).
pub fn share_descriptors(one: u32, other: u32) -> Result<bool> {
    const KCMP_FILES: libc::c_long = 2;
    // SAFETY: the call reads no memory of ours.
    let order = check(unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0usize, 0usize) })?;
    Ok(order == 0)
}

fn pidfd_open(thread: u32, flags: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: the call reads no memory.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, thread, flags) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs `f`, and where it is refused for want of permission runs it again with `CAP_SYS_PTRACE` effective on
/// this thread, if the thread is permitted it. For a process that made itself undumpable. `f` must not do
/// anything that someone else chose the object of.
pub fn with_ptrace<T>(f: impl Fn() -> Result<T>) -> Result<T> {
    match f() {
        Err(error @ (Errno::PERM | Errno::ACCESS)) => raised(f, error),
        other => other,
    }
}

/// Runs `f` with the capability, or answers `error` where the thread may not have it or had it already.
fn raised<T>(mut f: impl FnMut() -> Result<T>, error: Errno) -> Result<T> {
    let sets = thread::capabilities(None)?;
    let wanted = CapabilitySet::SYS_PTRACE;
    if !sets.permitted.contains(wanted) || sets.effective.contains(wanted) {
        return Err(error);
    }
    let mut more = sets;
    more.effective |= wanted;
    thread::set_capabilities(None, more)?;
    let result = f();
    thread::set_capabilities(None, sets)?;
    result
}

/// [`read`], and again with `CAP_SYS_PTRACE` where it is refused.
pub fn with_ptrace_read(thread: u32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    match read(thread, address, buffer) {
        Err(Errno::PERM) => raised(|| read(thread, address, buffer), Errno::PERM),
        other => other,
    }
}

/// [`write`], and again with `CAP_SYS_PTRACE` where it is refused.
pub fn with_ptrace_write(thread: u32, address: u64, bytes: &[u8]) -> Result<usize> {
    with_ptrace(|| write(thread, address, bytes))
}

/// Gives the calling thread a working directory and umask of its own.
pub fn unshare_directory_and_umask() -> Result<()> {
    // SAFETY: CLONE_FS only copies this thread's working directory, root and umask; no descriptor or address
    // space is split.
    check(unsafe { libc::unshare(libc::CLONE_FS) }.into()).map(drop)
}
