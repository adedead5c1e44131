//! What a container's own control groups count of the limits that were run into. They are gone with the container, and
//! so its first process tells.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use chiton_api::control::LimitsHit;
use chiton_sys::cgroup;
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

/// A container sees its own group at the root: version 2, and version 1 (cgroups(7), memory.events and memory.oom_control
/// of the kernel's cgroup-v2.rst and memory.rst).
const MEMORY: &[&str] = &["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
/// What was killed for want of memory.
const KILLED: &str = "oom_kill";
/// Where the driver makes the group in which processes are counted, later than this is opened.
const GROUPS: &[&str] = &["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
const PROCESSES: &str = "inside/pids.events";
/// What was not begun.
const REFUSED: &str = "max";

/// The counts, where there are any.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    memory: Option<OwnedFd>,
    group: Option<OwnedFd>,
}

impl Counted {
    /// While the container's files are in sight.
    pub(crate) fn of_container() -> Self {
        let first = |paths: &[&str], flags| paths.iter().find_map(|path| open(CWD, path, flags).ok());
        Self { memory: first(MEMORY, OFlags::RDONLY), group: first(GROUPS, OFlags::PATH | OFlags::DIRECTORY) }
    }

    /// What was run into so far.
    pub(crate) fn hit(&self) -> LimitsHit {
        let processes =
            self.group.as_ref().and_then(|group| open(group.as_fd(), PROCESSES, OFlags::RDONLY).ok());
        let count =
            |file: &Option<OwnedFd>, word| file.as_ref().map_or(0, |file| counted(file.as_fd(), word));
        LimitsHit {
            out_of_memory: count(&self.memory, KILLED),
            pids: count(&processes, REFUSED),
            wall_time: false,
        }
    }
}

fn open(at: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, flags | OFlags::CLOEXEC, Mode::empty())
}

fn counted(file: BorrowedFd<'_>, word: &str) -> u64 {
    let mut text = [0; 512];
    let Ok(length) = rustix::io::pread(file, &mut text, 0) else { return 0 };
    cgroup::count(&String::from_utf8_lossy(text.get(..length).unwrap_or_default()), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(cgroup::count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", KILLED), 3);
        assert_eq!(cgroup::count("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n", KILLED), 1);
        assert_eq!(cgroup::count("max 12\n", REFUSED), 12);
        assert_eq!(cgroup::count("", KILLED), 0);
        assert_eq!(Counted::default().hit(), LimitsHit::default());
    }
}
