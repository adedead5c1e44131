//! Forking, ending, and what a process may say about itself.

use std::ffi::CStr;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::{Errno, Result, check};

/// Which of the two a process is after [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The one that called, with the new process's id.
    Parent(Pid),
}

/// Forks. For a process with one thread: in a child of a process with several, another thread's locks stay
/// locked for ever, so such a child (as in tests) does as little as it can and ends with [`exit_now`].
pub fn fork() -> Result<Fork> {
    // SAFETY: fork has no memory conditions of its own; the child gets a copy of everything.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(crate::last_errno()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(Errno::SRCH),
    }
}

/// Ends the process at once: no destructor, no `atexit`, no flush. What a forked child ends with.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Makes the process undumpable: nobody of the same user can trace it, read its memory or its `/proc` links.
/// An exec resets it, so it is called after the start.
pub fn set_undumpable() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// The process is killed when the thread that forked it ends. Cleared by changes of identity, so it is
/// called after them; the caller then compares its parent with the one it expects.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
}

/// The process's name in `ps`, cut to 15 bytes by the kernel.
pub fn set_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name)
}

/// No exec from here on can give the process more rights, in it and all it starts.
pub fn set_no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true)
}

/// Raises how many descriptors the process may have to `most`, as far as it may be raised. Never lowers it.
pub fn allow_descriptors(most: u64) -> Result<()> {
    let files = getrlimit(Resource::Nofile);
    let most = files.maximum.map_or(most, |maximum| maximum.min(most));
    if files.current.is_some_and(|now| now < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..files })?;
    }
    Ok(())
}

/// Whether the process has one thread only.
pub fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Which mode bits new files do not get. Ours get exactly the mode that is asked for (0); a program starts
/// with what a login would give it.
pub fn set_umask(mask: u32) {
    // SAFETY: umask takes any mask, cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &str) -> Result<()> {
    // SAFETY: the pointer and the length describe `name`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.len()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::{
        capability::{self, CapabilitySet},
        signal::SignalFd,
    };

    /// The status of a child that runs `act`.
    fn in_child(act: impl FnOnce() -> bool) -> i32 {
        match fork().unwrap() {
            Fork::Child => exit_now(u8::from(!act())),
            Fork::Parent(child) => {
                let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
                status.exit_status().unwrap_or(-1)
            }
        }
    }

    #[test]
    fn a_child_ends_with_its_status() {
        assert_eq!(in_child(|| true), 0);
        assert_eq!(in_child(|| false), 1);
    }

    #[test]
    fn capabilities_are_given_up_for_good() {
        let status = in_child(|| {
            let kept = capability::held().unwrap() & CapabilitySet::SYS_PTRACE;
            capability::keep_only(kept).is_ok()
                && capability::held() == Ok(kept)
                && capability::keep_only(CapabilitySet::empty()).is_ok()
                && capability::held() == Ok(CapabilitySet::empty())
                && (kept.is_empty() || capability::keep_only(kept).is_err())
        });
        // A caller without CAP_SETPCAP cannot empty its bounding set, and is told so.
        let may = capability::held().unwrap().contains(CapabilitySet::SETPCAP);
        assert_eq!(status == 0, may);
    }

    #[test]
    fn an_undumpable_process_is_and_stays_so_until_exec() {
        let status = in_child(|| {
            set_undumpable().is_ok()
                && rustix::process::dumpable_behavior() == Ok(DumpableBehavior::NotDumpable)
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn signals_are_read_and_reset() {
        let status = in_child(|| {
            let signals = SignalFd::new(&[libc::SIGUSR1]).unwrap();
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, Signal::USR1).unwrap();
            let arrived = signals.next().unwrap();
            let by_me = arrived.is_some_and(|a| {
                a.number == libc::SIGUSR1 && i64::from(a.sender) == i64::from(me.as_raw_nonzero().get())
            });
            by_me && signals.next() == Ok(None) && crate::signal::reset().is_ok()
        });
        assert_eq!(status, 0);
    }
}
