//! Whom the kernel kills for want of memory: programs before the supervisor, however small they are.
//!
//! A process's score counts against it, and its children begin with it. The first process inside has its own file open
//! from before it closed itself, and gives itself the programs' score for the moment in which it forks one. A program may
//! take its score back; it then has its own supervisor killed, and with it itself.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    process::DumpableBehavior,
};

/// Half of the memory that there is, added to what a process has.
const PROGRAMS: &[u8] = b"500";
const OWN: &[u8] = b"0";

/// The first process's own score; none where memory is not limited, and the host's programs are not to be spared.
#[derive(Debug)]
pub(crate) struct Score(Option<OwnedFd>);

impl Score {
    /// Before the first process closes itself: from then on its files are the host's root's.
    pub(crate) fn open(memory_is_limited: bool) -> io::Result<Self> {
        if !memory_is_limited {
            return Ok(Self(None));
        }
        // Whose ids were changed is closed already. Nothing but our own code runs inside yet.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(Self(Some(rustix::fs::open("/proc/self/oom_score_adj", flags, Mode::empty())?)))
    }

    /// What is forked in between is killed first.
    pub(crate) fn of_programs<T>(&self, fork: impl FnOnce() -> T) -> io::Result<T> {
        self.set(PROGRAMS)?;
        let forked = fork();
        self.set(OWN)?;
        Ok(forked)
    }

    fn set(&self, score: &[u8]) -> io::Result<()> {
        match &self.0 {
            Some(file) => Ok(rustix::io::write(file, score).map(drop)?),
            None => Ok(()),
        }
    }
}
