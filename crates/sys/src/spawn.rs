//! Starting a process of ours with exactly the descriptors that it shall have, and taking them there.

use std::{
    ffi::{CStr, CString},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use rustix::process::Pid;

use crate::{Errno, Result, last_errno, process::Fork};

/// Where the copies lie while the new process's numbers are filled: above all of those.
const ABOVE: RawFd = 64;

/// Takes a descriptor that this process was started with, and marks it close-on-exec.
///
/// # Errors
/// `BADF` where it is not open, `INVAL` for the standard ones, which the standard library owns. For the
/// first lines of a process: each number may be taken once, before anything else opened a descriptor.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::INVAL);
    }
    // SAFETY: fcntl takes any number and answers EBADF for one that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(last_errno());
    }
    // SAFETY: it is open, and by the condition above nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts these in the place of standard input, output and error, open across an exec. In a child.
///
/// # Errors
/// Those of `dup2`.
pub fn replace_standard(descriptors: [BorrowedFd<'_>; 3]) -> Result<()> {
    for (number, descriptor) in (0..).zip(descriptors) {
        // SAFETY: both numbers are open; the standard library expects the standard three to be replaceable.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } == -1 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Closes every descriptor from 3 up but one. Only for a child that from here on executes a program or ends
/// by [`exit_now`](crate::process::exit_now): whatever owns the closed ones must not be used or dropped.
///
/// # Errors
/// Those of `close_range`.
pub fn close_all_but(kept: BorrowedFd<'_>) -> Result<()> {
    let kept = libc::c_uint::try_from(kept.as_raw_fd()).map_err(|_| Errno::BADF)?;
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.saturating_add(1), libc::c_uint::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: by the condition above nobody uses a closed descriptor any more.
        crate::check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    }
    Ok(())
}

/// As [`fork`](crate::process::fork), but the child is the first process of a new pid namespace. The caller
/// stays in its own with all its later children, and may start threads, which it could not after `unshare`.
/// For a process with one thread that holds `CAP_SYS_ADMIN` in its user namespace.
///
/// # Errors
/// Those of `clone`.
pub fn fork_into_pid_namespace() -> Result<Fork> {
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child gets a copy of everything, on the same stack; with one thread no lock
    // of the C library is held.
    let pid = crate::check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.map(Fork::Parent).ok_or(Errno::SRCH)
}

/// Starts `file` with these arguments and variables, no others, no signal blocked, `/dev/null` as 0, 1 and 2, and
/// `descriptors` from 3 up in their order. Every other descriptor stays behind, also one that this process
/// itself was started with. The process leads a session of its own, so that no terminal's signal reaches it.
///
/// # Errors
/// Those of `posix_spawn`, with `file` not there among them.
pub fn spawn(
    file: &Path,
    arguments: &[&CStr],
    variables: &[&CStr],
    descriptors: &[BorrowedFd<'_>],
) -> Result<Pid> {
    let file = CString::new(file.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut actions = Actions::new()?;
    let copies = copies_of(descriptors)?;
    for standard in 0..=libc::STDERR_FILENO {
        actions.open(standard, c"/dev/null")?;
    }
    for (number, copy) in (3..).zip(&copies) {
        actions.duplicate(copy.as_fd(), number)?;
    }
    let next = RawFd::try_from(3 + copies.len()).map_err(|_| Errno::INVAL)?;
    actions.close_from(next)?;
    let attributes = Attributes::own_session()?;
    let (argv, environment) = (list(arguments), list(variables));
    let mut pid = 0;
    // SAFETY: every pointer is to a live value; both lists end with null; the strings are not written to.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            file.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            environment.as_ptr(),
        )
    };
    checked(error)?;
    Pid::from_raw(pid).ok_or(Errno::SRCH)
}

/// As C has it: pointers, and null after the last.
fn list(strings: &[&CStr]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

fn copies_of(descriptors: &[BorrowedFd<'_>]) -> Result<Vec<OwnedFd>> {
    descriptors.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, ABOVE)).collect()
}

fn checked(error: libc::c_int) -> Result<()> {
    if error == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(error)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Self> {
        // SAFETY: plain data that `init` fills; all-zero bytes are a valid value of it.
        let mut actions = unsafe { std::mem::zeroed() };
        // SAFETY: `actions` is writable and lives through the call.
        checked(unsafe { libc::posix_spawn_file_actions_init(&raw mut actions) })?;
        Ok(Self(actions))
    }

    fn open(&mut self, number: RawFd, path: &CStr) -> Result<()> {
        // SAFETY: initialised; glibc copies the path.
        checked(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, number, path.as_ptr(), libc::O_RDWR, 0)
        })
    }

    fn duplicate(&mut self, from: BorrowedFd<'_>, number: RawFd) -> Result<()> {
        // SAFETY: initialised; both numbers are only recorded.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), number) })
    }

    fn close_from(&mut self, number: RawFd) -> Result<()> {
        // SAFETY: initialised; the number is only recorded.
        checked(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.0, number) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn own_session() -> Result<Self> {
        const SETSID: libc::c_int = 0x80;
        let flags = SETSID | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::INVAL)?;
        // SAFETY: plain data that `init` fills; all-zero bytes are a valid value of it.
        let mut attributes = unsafe { std::mem::zeroed() };
        // SAFETY: `attributes` is writable and lives through the call.
        checked(unsafe { libc::posix_spawnattr_init(&raw mut attributes) })?;
        let mut attributes = Self(attributes);
        // SAFETY: initialised. The mask and the defaults are empty as `init` left them.
        checked(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `own_session`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Who is at the other end of a Unix connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process, or 0 where that has no number in this pid namespace.
    pub pid: i32,
    /// Its user, or the overflow id where that is not mapped in this user namespace.
    pub uid: u32,
}

/// The process at the other end of a Unix connection. Unlike `rustix`'s, it can say that it is invisible.
///
/// # Errors
/// Those of `getsockopt`.
pub fn peer(socket: BorrowedFd<'_>) -> Result<Peer> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the buffer is a `ucred` of the length that is passed, and both live through the call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if got == -1 { Err(last_errno()) } else { Ok(Peer { pid: peer.pid, uid: peer.uid }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spawned_process_has_its_descriptors_and_no_others() {
        let (_ours, theirs) = std::io::pipe().unwrap();
        let pid = spawn(Path::new("/bin/sleep"), &[c"sleep", c"60"], &[c"ONE=1"], &[theirs.as_fd()]).unwrap();
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        let open = || {
            let entries = std::fs::read_dir(format!("{folder}/fd")).unwrap();
            let mut open: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            open.sort();
            open
        };
        let seen = || (open(), std::fs::read(format!("{folder}/environ")).unwrap());
        let wanted = (["0", "1", "2", "3"].map(String::from).to_vec(), b"ONE=1\0".to_vec());
        // Its variables are told once it is laid out; while its libraries are loaded it has their files open too. What it
        // was started with stays.
        let began = std::time::Instant::now();
        while seen() != wanted && began.elapsed() < std::time::Duration::from_secs(10) {
            std::thread::yield_now();
        }
        let seen = seen();
        let session = rustix::process::getsid(Some(pid)).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        assert_eq!((seen, session), (wanted, pid));
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = peer(one.as_fd()).unwrap();
        assert_eq!(peer.pid, rustix::process::getpid().as_raw_nonzero().get());
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
    }
}
