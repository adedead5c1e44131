//! Signals as a descriptor, and the state that a started program expects.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::{Errno, Result, check, last_errno};

/// Signals of this process, read from a descriptor instead of interrupting it.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub number: i32,
    /// Who sent it, in this process's pid namespace; 0 for the kernel or a sender that is not visible.
    pub sender: u32,
}

impl SignalFd {
    /// Blocks the signals on this thread (which must be the only one) and delivers them here instead.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let set = set_of(signals)?;
        // SAFETY: `set` was initialised by `sigemptyset`; the old mask is not asked for.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } == -1 {
            return Err(last_errno());
        }
        // SAFETY: -1 asks for a new descriptor; `set` is initialised.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd == -1 {
            return Err(last_errno());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal, if one waits.
    pub fn next(&self) -> Result<Option<Arrived>> {
        // SAFETY: all-zero bytes are a valid `signalfd_siginfo`, which is plain numbers.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the length that is passed and lives through the call.
        let got = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        match check(got as libc::c_long) {
            Ok(n) if usize::try_from(n).is_ok_and(|n| n == size) => {
                let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::INVAL)?;
                Ok(Some(Arrived { number, sender: info.ssi_pid }))
            }
            Ok(_) => Err(Errno::IO),
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl std::os::fd::AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this process ignores a signal: its parent may have had it so (`nohup`, a job in the background of a script).
#[must_use]
pub fn is_ignored(number: i32) -> bool {
    // SAFETY: all-zero bytes are a valid `sigaction`, which is plain data; the new disposition is not given.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `now` lives through the call, which only writes to it.
    let told = unsafe { libc::sigaction(number, std::ptr::null(), &raw mut now) };
    told == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// No code of the runtime library's for a fault of memory, whose word on a stack that ran over is all that it is for: who
/// may send a signal could have it run, and both at once are more than its stack holds where the processor's registers are
/// large, which ends the process.
pub fn handle_no_fault() {
    set_default([libc::SIGSEGV, libc::SIGBUS]);
}

fn set_default(signals: impl IntoIterator<Item = i32>) {
    // The kernel's own call: the C library keeps two of the numbers to itself. All zero bytes are the kernel's
    // `sigaction` of the default, without flags.
    let default = [0_u64; 4];
    for number in signals {
        // SAFETY: `default` has the size of the kernel's structure, and the default disposition runs no code of
        // ours. Numbers that cannot be set answer an error, which changes nothing.
        unsafe {
            let nowhere = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), nowhere, size_of::<u64>());
        }
    }
}

/// Every signal at its default and none blocked: what a program expects at its start. Called in a child.
pub fn reset() -> Result<()> {
    set_default(1..=64);
    let empty = set_of(&[])?;
    // SAFETY: `empty` was initialised by `sigemptyset`.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) } == -1 {
        return Err(last_errno());
    }
    Ok(())
}

fn set_of(signals: &[i32]) -> Result<libc::sigset_t> {
    // SAFETY: a `sigset_t` is plain bits, and `sigemptyset` initialises it fully.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &number in signals {
        // SAFETY: `set` is initialised; a number that is none answers -1.
        if unsafe { libc::sigaddset(&raw mut set, number) } == -1 {
            return Err(Errno::INVAL);
        }
    }
    Ok(set)
}
