//! Trying something in a process of its own, which ends with it.

use std::{
    io::{PipeReader, Read as _, Write as _},
    os::fd::AsFd as _,
    time::Duration,
};

use chiton_sys::process::{self, Fork};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};

/// A layer that answers later than this does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
pub(super) struct Tried {
    pub(super) works: bool,
    pub(super) found: String,
}

/// Runs `attempt` in a child. What it returns, or what it failed with, comes back as a line.
pub(super) fn attempt<E: std::fmt::Display>(attempt: impl FnOnce() -> Result<String, E>) -> Tried {
    let failed = |found: String| Tried { works: false, found };
    let (reader, mut writer) = match std::io::pipe() {
        Ok(pipe) => pipe,
        Err(e) => return failed(format!("cannot try: {e}")),
    };
    match process::fork() {
        Err(e) => failed(format!("cannot try: {e}")),
        Ok(Fork::Child) => {
            drop(reader);
            let line = match attempt() {
                Ok(found) => format!("+{found}"),
                Err(e) => format!("-{e}"),
            };
            let told = writer.write_all(line.as_bytes()).is_ok();
            process::exit_now(u8::from(!told));
        }
        Ok(Fork::Parent(child)) => {
            drop(writer);
            let answer = wait(reader, child);
            match answer.split_at_checked(1) {
                Some(("+", found)) => Tried { works: true, found: found.to_owned() },
                Some(("-", found)) => failed(found.to_owned()),
                Some(_) | None => failed("the process that tried it ended without an answer".to_owned()),
            }
        }
    }
}

fn wait(mut reader: PipeReader, child: Pid) -> String {
    let mut answer = String::new();
    let timeout = Timespec::try_from(PATIENCE).ok();
    let ready = poll(&mut [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)], timeout.as_ref());
    if ready.is_ok_and(|n| n > 0) {
        // What cannot be read is no answer, which is judged by the caller.
        let _ = reader.read_to_string(&mut answer);
    }
    let _ = kill_process(child, Signal::KILL);
    let _ = waitpid(Some(child), WaitOptions::empty());
    answer
}
