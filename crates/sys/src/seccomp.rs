//! Loading a seccomp filter, with and without a listener for its notifications.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use crate::{Errno, Result, check};

/// One instruction of classic BPF, as the kernel wants it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
const FLAG_TSYNC: libc::c_ulong = 1;
const FLAG_NEW_LISTENER: libc::c_ulong = 1 << 3;
const FLAG_WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// How the waiting for a notification's answer may be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// By any signal (kernels before 5.19).
    Interruptible,
    /// By a fatal one only, once the listener has received the notification.
    KillableOnceReceived,
}

/// Loads a filter on every thread of this process. It stays, for all that the process starts, for ever.
/// Needs `no_new_privs`.
pub fn load(program: &[Instruction]) -> Result<()> {
    install(program, FLAG_TSYNC).map(drop)
}

/// Loads a filter on the calling thread and returns the listener of its notifications. A process has at most
/// one in its chain of filters: `EBUSY` otherwise. Needs `no_new_privs`.
pub fn load_with_listener(program: &[Instruction], wait: Wait) -> Result<OwnedFd> {
    let flags = match wait {
        Wait::Interruptible => FLAG_NEW_LISTENER,
        Wait::KillableOnceReceived => FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV,
    };
    let fd = install(program, flags)?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the kernel returns a descriptor that is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn install(program: &[Instruction], flags: libc::c_ulong) -> Result<libc::c_long> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: the program's pointer and length describe the slice, and the kernel copies it before it returns.
    let returned = check(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    // TSYNC answers with the id of a thread that could not follow.
    if flags & FLAG_TSYNC != 0 && returned != 0 { Err(Errno::SRCH) } else { Ok(returned) }
}
