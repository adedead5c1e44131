//! Calls on files whose results are wanted in the kernel's own layout, to be passed on byte for byte, or
//! whose arguments are (addresses of sockets).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use crate::{Errno, Result, check};

/// The size of the kernel's `struct stat`.
pub const STAT: usize = 144;
/// The size of the kernel's `struct statx`.
pub const STATX: usize = 256;
/// The size of the kernel's `struct statfs`.
pub const STATFS: usize = 120;

/// `stat` of the object itself.
pub fn stat(fd: impl AsFd) -> Result<[u8; STAT]> {
    let mut buffer = [0; STAT];
    // SAFETY: the path is a constant with its NUL; the buffer is as long as what the kernel writes.
    check(unsafe {
        libc::syscall(
            libc::SYS_newfstatat,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            buffer.as_mut_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })?;
    Ok(buffer)
}

/// `statx` of the object itself. `flags` are the synchronisation flags.
pub fn statx(fd: impl AsFd, flags: u32, mask: u32) -> Result<[u8; STATX]> {
    let mut buffer = [0; STATX];
    // SAFETY: as for `stat`.
    check(unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH.unsigned_abs(),
            mask,
            buffer.as_mut_ptr(),
        )
    })?;
    Ok(buffer)
}

/// `fstatfs`, which takes `O_PATH` descriptors too.
pub fn statfs(fd: impl AsFd) -> Result<[u8; STATFS]> {
    let mut buffer = [0; STATFS];
    // SAFETY: the buffer is as long as what the kernel writes.
    check(unsafe { libc::syscall(libc::SYS_fstatfs, fd.as_fd().as_raw_fd(), buffer.as_mut_ptr()) })?;
    Ok(buffer)
}

/// The layout of directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// `getdents64`.
    Wide,
    /// The old `getdents`.
    Old,
}

/// Reads directory entries into the buffer.
pub fn read_entries(fd: impl AsFd, layout: Entries, buffer: &mut [u8]) -> Result<usize> {
    let number = match layout {
        Entries::Wide => libc::SYS_getdents64,
        Entries::Old => libc::SYS_getdents,
    };
    let length = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer and length describe the buffer.
    let got = check(unsafe { libc::syscall(number, fd.as_fd().as_raw_fd(), buffer.as_mut_ptr(), length) })?;
    usize::try_from(got).map_err(|_| Errno::IO)
}

/// `connect` to an address in the kernel's layout.
pub fn connect(socket: impl AsFd, address: &[u8]) -> Result<()> {
    on_address(libc::SYS_connect, socket.as_fd(), address)
}

/// `bind` to an address in the kernel's layout.
pub fn bind(socket: impl AsFd, address: &[u8]) -> Result<()> {
    on_address(libc::SYS_bind, socket.as_fd(), address)
}

fn on_address(number: libc::c_long, socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    // SAFETY: the pointer and length describe the slice; the kernel reads it as an address.
    check(unsafe { libc::syscall(number, socket.as_raw_fd(), address.as_ptr(), address.len()) }).map(drop)
}

/// `sendto`, never raising `SIGPIPE` here.
pub fn send_to(socket: impl AsFd, bytes: &[u8], flags: i32, address: &[u8]) -> Result<usize> {
    // SAFETY: pointers and lengths describe the slices, which the kernel only reads.
    let sent = check(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            socket.as_fd().as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
            flags | libc::MSG_NOSIGNAL,
            address.as_ptr(),
            address.len(),
        )
    })?;
    usize::try_from(sent).map_err(|_| Errno::IO)
}
