//! Processes that may outlive the gateway, named so that a number which was used again is never hit.

use std::{
    ffi::CStr,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitOptions},
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// How long a process that is asked to end may write what it has left to write.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a killed process may take until it is gone.
const DEATH: Duration = Duration::from_secs(10);

/// A process: its number, and when it started in which run of the machine, which no other process of this number shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pid: i32,
    started: u64,
    boot: u64,
}

/// A process that is held: its number cannot be used again for another one meanwhile.
#[derive(Debug)]
pub struct Held {
    pidfd: OwnedFd,
}

/// The only variable of a process of ours, for the C library linked into it: large copies are by vector instructions.
/// `rep movsb`, which glibc before 2.40 takes for more than 2 KiB where the processor calls it fast, is 25 times slower
/// on AMD's where the copy begins up to 31 bytes further into its page than what is copied (glibc's bug 30994), as what
/// follows a TLS record's head does.
const COPIES: &CStr = c"GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=0x10000000";

/// Starts `chiton ROLE` with these descriptors from 3 up. Once it has ended it is reaped in the background.
///
/// # Errors
/// Where it cannot be started.
pub fn start(
    executable: &Path,
    role: &CStr,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(ProcessId, Held)> {
    let pid = chiton_sys::spawn::spawn(executable, &[c"chiton", role], &[COPIES], descriptors)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    let id = ProcessId::read(pid)?;
    let watched = watch(&pidfd)?;
    tokio::spawn(async move {
        // Ready whatever it says: either the process has ended, or there is nothing to wait for.
        let _ = watched.readable().await;
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    });
    Ok((id, Held { pidfd }))
}

impl ProcessId {
    /// The process of this number, which must be known to be alive: the peer of an open connection is.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::read(Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?)
    }

    fn read(pid: Pid) -> io::Result<Self> {
        Ok(Self { pid: pid.as_raw_nonzero().get(), started: started(pid)?, boot: boot()? })
    }

    /// Its number. Only of one that is held, or that cannot have been reaped.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.pid
    }

    /// Holds the process, where it still is this one.
    #[must_use]
    pub fn hold(self) -> Option<Held> {
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Compared after it is held: from here on the number stays this process's.
        (Self::read(pid).ok()? == self).then_some(Held { pidfd })
    }

    /// Its children at this moment; none where it is gone, whoever has its number now.
    #[must_use]
    pub fn children(self) -> Vec<ProcessId> {
        let listed = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid));
        let pids = listed.unwrap_or_default();
        let pids = pids.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        let children = pids.filter_map(|pid| Self::read(pid).ok()).collect();
        // Looked at afterwards: one that is still this one was it before.
        let is_this_one =
            Pid::from_raw(self.pid).is_some_and(|pid| Self::read(pid).is_ok_and(|now| now == self));
        if is_this_one { children } else { Vec::new() }
    }
}

impl Held {
    /// Kills it. One that has ended is fine.
    ///
    /// # Errors
    /// Where it may not be.
    pub fn kill(&self) -> io::Result<()> {
        self.send(Signal::KILL)
    }

    /// Asks it to end, and waits a little until it has.
    pub async fn ask_to_end(&self) {
        if self.send(Signal::TERM).is_ok() {
            let _ = tokio::time::timeout(LAST_WORDS, self.ended()).await;
        }
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// Where it does not, for ten seconds.
    pub async fn ended(&self) -> io::Result<()> {
        let watched = watch(&self.pidfd)?;
        match tokio::time::timeout(DEATH, watched.readable()).await {
            Ok(ready) => ready.map(drop),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "a killed process does not end")),
        }
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// As [`Held::kill`] and [`Held::ended`].
    pub async fn end(&self) -> io::Result<()> {
        self.kill()?;
        self.ended().await
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe to call, for types that do not keep their descriptor as `OwnedFd` does"
)]
fn watch(pidfd: &OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd.try_clone()?, Interest::READABLE)
}

/// When a process started, in the kernel's ticks since boot: field 22 of its `stat`.
fn started(pid: Pid) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The second field is the program's name, which may hold anything; the last `)` ends it.
    let after = text.rsplit_once(") ").map(|(_, after)| after);
    let field = after.and_then(|after| after.split(' ').nth(19));
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Which run of the machine this is, by the first half of its random name (`random(4)`): what is written down stays after
/// its end.
pub(crate) fn boot() -> io::Result<u64> {
    static BOOT: OnceLock<u64> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let half: String = name.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = u64::from_str_radix(&half, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(*BOOT.get_or_init(|| boot))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[tokio::test]
    async fn a_process_is_held_by_number_and_start() {
        let (_ours, theirs) = io::pipe().unwrap();
        let pid =
            chiton_sys::spawn::spawn(Path::new("/bin/sleep"), &[c"sleep", c"60"], &[], &[theirs.as_fd()]);
        let pid = pid.unwrap();
        let id = ProcessId::read(pid).unwrap();
        assert!(ProcessId { started: id.started + 1, ..id }.hold().is_none());
        assert!(ProcessId { boot: id.boot + 1, ..id }.hold().is_none(), "of another run of the machine");
        let held = id.hold().unwrap();
        assert!(!held.has_ended());
        held.end().await.unwrap();
        assert!(held.has_ended());
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
        assert!(id.hold().is_none());
        held.kill().unwrap();
    }

    #[tokio::test]
    async fn children_are_of_this_process_and_of_no_other_of_its_number() {
        let (_ours, theirs) = io::pipe().unwrap();
        let arguments = [c"sh", c"-c", c"sleep 60 & wait"];
        let pid = chiton_sys::spawn::spawn(Path::new("/bin/sh"), &arguments, &[], &[theirs.as_fd()]).unwrap();
        let parent = ProcessId::read(pid).unwrap();
        let child = loop {
            match parent.children()[..] {
                [child] => break child,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(ProcessId { boot: parent.boot + 1, ..parent }.children().is_empty());
        for process in [parent, child] {
            process.hold().unwrap().end().await.unwrap();
        }
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
    }

    #[tokio::test]
    async fn what_ends_by_itself_is_reaped() {
        let (_, held) = start(Path::new("/bin/true"), c"role", &[]).unwrap();
        held.ended().await.unwrap();
    }
}
