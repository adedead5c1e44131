//! What the kernel killed for want of memory, where an engine limits it: counted by the container's own control group,
//! which is gone with the container, and so told by its first process.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// A container sees its own group at the root: version 2, and version 1 (cgroups(7), memory.events and memory.oom_control
/// of the kernel's cgroup-v2.rst and memory.rst).
const COUNTERS: &[&str] = &["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const LINE: &str = "oom_kill ";

/// The count, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Killed(Option<OwnedFd>);

impl Killed {
    /// While the container's files are in sight.
    pub(crate) fn of_container() -> Self {
        let open = |path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
        Self(COUNTERS.iter().find_map(|path| open(*path)))
    }

    /// How many so far.
    pub(crate) fn count(&self) -> u64 {
        let mut text = [0; 512];
        let read = self.0.as_ref().map(|file| rustix::io::pread(file.as_fd(), &mut text, 0));
        let Some(Ok(length)) = read else { return 0 };
        counted(&String::from_utf8_lossy(text.get(..length).unwrap_or_default()))
    }
}

fn counted(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(LINE));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(counted("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(counted("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(counted(""), 0);
        assert_eq!(Killed::default().count(), 0);
    }
}
