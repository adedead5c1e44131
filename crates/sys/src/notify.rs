//! The listener's side of seccomp user notification: receive a call, answer it, hand a descriptor over.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use crate::{Errno, Result, check};

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names the waiting call, for as long as it waits.
    pub id: u64,
    /// The calling thread, in the reader's pid namespace; 0 where it is not visible there.
    pub thread: u32,
    /// The audit architecture.
    pub architecture: u32,
    /// The call's number.
    pub number: i32,
    /// The six arguments, as in the registers.
    pub arguments: [u64; 6],
}

/// What the waiting call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This value.
    Value(i64),
    /// This error.
    Error(Errno),
    /// The kernel performs the call itself, reading its pointers again.
    Continue,
    /// Interrupted: restarted or `EINTR`, as the signal's handler says.
    Restart,
}

const FLAG_CONTINUE: u32 = 1;
const ADDFD_SEND: u32 = 2;
const FD_SYNC_WAKE_UP: u64 = 1;
const ERESTARTSYS: i32 = 512;

/// Waits for the next call. `ENOENT`: the caller died before it was received, or every process that the
/// filter was on is gone (newer kernels; older ones tell by `poll` only).
pub fn receive(listener: impl AsFd) -> Result<Notification> {
    // SAFETY: all-zero bytes are a valid `seccomp_notif`, which is plain numbers, and what the kernel demands.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    ioctl(listener.as_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw)?;
    Ok(Notification {
        id: raw.id,
        thread: raw.pid,
        architecture: raw.data.arch,
        number: raw.data.nr,
        arguments: raw.data.args,
    })
}

/// Whether [`receive`] tells the end of the filter's last process to who waits in it. Before Linux 6.11 only `poll` does.
#[must_use]
pub fn receive_tells_the_end() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_str().unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(11))
}

/// Answers a call. `ENOENT`: it waits no more.
pub fn answer(listener: impl AsFd, id: u64, answer: Answer) -> Result<()> {
    let (val, error, flags) = match answer {
        Answer::Value(value) => (value, 0, 0),
        Answer::Error(errno) => (0, errno.raw_os_error().saturating_neg(), 0),
        Answer::Continue => (0, 0, FLAG_CONTINUE),
        Answer::Restart => (0, -ERESTARTSYS, 0),
    };
    let mut raw = libc::seccomp_notif_resp { id, val, error, flags };
    ioctl(listener.as_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut raw)
}

/// Puts a copy of a descriptor into the caller's table, under the lowest free number.
pub fn add_descriptor(
    listener: impl AsFd,
    id: u64,
    source: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<u32> {
    add(listener.as_fd(), id, source, close_on_exec, 0)
}

/// As [`add_descriptor`], and answers the call with the number in the same step.
pub fn answer_descriptor(
    listener: impl AsFd,
    id: u64,
    source: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<()> {
    add(listener.as_fd(), id, source, close_on_exec, ADDFD_SEND).map(drop)
}

fn add(
    listener: BorrowedFd<'_>,
    id: u64,
    source: BorrowedFd<'_>,
    close_on_exec: bool,
    flags: u32,
) -> Result<u32> {
    let mut raw = libc::seccomp_notif_addfd {
        id,
        flags,
        srcfd: u32::try_from(source.as_raw_fd()).map_err(|_| Errno::BADF)?,
        newfd: 0,
        newfd_flags: if close_on_exec { libc::O_CLOEXEC.unsigned_abs() } else { 0 },
    };
    // SAFETY: the pointer is to the structure that this request reads, and lives through the call.
    let number = check(unsafe {
        libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut raw)
    })?;
    u32::try_from(number).map_err(|_| Errno::BADF)
}

/// Whether the call still waits: what was read by its thread's number before this answered yes was that
/// thread's, for a waiting thread's number is not given to another.
pub fn is_waiting(listener: impl AsFd, id: u64) -> bool {
    let mut id = id;
    ioctl(listener.as_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id).is_ok()
}

/// Wakes the listener and the caller on the same processor, which saves a round trip between two. Kernels
/// before 6.6 answer `EINVAL`.
pub fn wake_in_step(listener: impl AsFd) -> Result<()> {
    // SAFETY: this request takes its flags by value, no memory is read.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            FD_SYNC_WAKE_UP,
        )
    })
    .map(drop)
}

fn ioctl<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: *mut T) -> Result<()> {
    // SAFETY: the callers of this private function pass the structure that the request is defined over, which
    // lives through the call.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), request, argument) }).map(drop)
}

/// A thread of this process whose blocking calls another can interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruptible(libc::pid_t);

impl Interruptible {
    /// The calling thread. From the first use on, the process has an empty handler for the signal that is used.
    pub fn current() -> Result<Self> {
        static HANDLER: std::sync::OnceLock<Result<()>> = std::sync::OnceLock::new();
        (*HANDLER.get_or_init(install_handler))?;
        // SAFETY: the call takes nothing and cannot fail.
        Ok(Self(unsafe { libc::gettid() }))
    }

    /// Makes a call that blocks in the thread answer `EINTR`. Does nothing to a thread that does not block.
    pub fn interrupt(self) -> Result<()> {
        // SAFETY: the calls read no memory; the signal's handler is empty and async-signal-safe.
        check(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, interrupt_signal()) })
            .map(drop)
    }
}

fn interrupt_signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

extern "C" fn nothing(_signal: libc::c_int) {}

fn install_handler() -> Result<()> {
    // SAFETY: all-zero bytes are a valid `sigaction` (no flags, empty mask); without SA_RESTART calls answer
    // `EINTR`, which is the purpose.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the action is initialised and its handler does nothing.
    check(unsafe { libc::sigaction(interrupt_signal(), &raw const action, std::ptr::null_mut()) }.into())
        .map(drop)
}
