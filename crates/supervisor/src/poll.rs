//! Waiting for many descriptors at once.

use std::{io, os::fd::BorrowedFd, time::Instant};

use chiton_api::frame::SessionKind;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};

use crate::{link::LinkId, program::ProgramId};

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// New connections.
    Listener,
    /// Children that ended.
    Signals,
    /// The other half of the supervisor.
    Partner,
    /// A connection.
    Link(LinkId),
    /// Whether a program came to run.
    News(ProgramId),
    /// A program takes input.
    Input(ProgramId),
    /// A program has output.
    Output(ProgramId, SessionKind),
}

/// A descriptor to wait for.
pub(crate) type Interest<'a> = (Token, BorrowedFd<'a>, PollFlags);

/// Waits until something is ready, or until `until`.
pub(crate) fn wait(
    interests: &[Interest<'_>],
    until: Option<Instant>,
) -> io::Result<Vec<(Token, PollFlags)>> {
    let mut fds: Vec<PollFd<'_>> =
        interests.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
    let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let ready = interests.iter().zip(&fds).map(|((token, ..), fd)| (*token, fd.revents()));
    Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
}
