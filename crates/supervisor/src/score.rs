//! Whom the kernel kills for want of memory: programs before the supervisor, however small they are.
//!
//! A process's score counts against it, and its children begin with it. The first process inside has its own file open
//! from before it closed itself, and gives itself the programs' score for the moment in which it forks one. A program may
//! take its score back; it then has its own supervisor killed, and with it itself.
//!
//! What programs wrote into files of memory stays when they are gone. To tell how they ended takes memory too (a message
//! is some of the kernel's), and then there is nobody else to kill: so some is kept back from them.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    process::DumpableBehavior,
};

/// Half of the memory that there is, added to what a process has.
const PROGRAMS: &[u8] = b"500";
const OWN: &[u8] = b"0";
/// Enough for the last messages, also where the kernel takes memory for each processor by the quarter of a MiB.
const RESERVE: usize = 512 << 10;

/// The first process's own score, and memory in reserve; neither where memory is not limited, and the host's programs are
/// not to be spared.
#[derive(Debug)]
pub(crate) struct Score {
    file: Option<OwnedFd>,
    reserve: Vec<u8>,
}

impl Score {
    /// Before the first process closes itself: from then on its files are the host's root's.
    pub(crate) fn open(memory_is_limited: bool) -> io::Result<Self> {
        if !memory_is_limited {
            return Ok(Self { file: None, reserve: Vec::new() });
        }
        // Whose ids were changed is closed already. Nothing but our own code runs inside yet.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = Some(rustix::fs::open("/proc/self/oom_score_adj", flags, Mode::empty())?);
        // Written to, so that it is there.
        Ok(Self { file, reserve: std::hint::black_box(vec![1; RESERVE]) })
    }

    /// No program is left to take what is given back now.
    pub(crate) fn release(&mut self) {
        self.reserve = Vec::new();
    }

    /// What is forked in between is killed first.
    pub(crate) fn of_programs<T>(&self, fork: impl FnOnce() -> T) -> io::Result<T> {
        self.set(PROGRAMS)?;
        let forked = fork();
        self.set(OWN)?;
        Ok(forked)
    }

    fn set(&self, score: &[u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => Ok(rustix::io::write(file, score).map(drop)?),
            None => Ok(()),
        }
    }
}
