//! A terminal of the sandbox's own.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::Result;

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that the supervisor keeps.
    pub controller: OwnedFd,
    /// The end that is the program's standard input, output and error.
    pub terminal: OwnedFd,
}

impl Pty {
    /// Makes a terminal in the devpts under `/dev/pts`, which inside the view is the sandbox's own.
    pub fn open(rows: u16, columns: u16) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let controller = open("/dev/pts/ptmx", flags, Mode::empty())?;
        unlockpt(&controller)?;
        // By the controller, not by a name: no lookup, no race.
        let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&controller, peer)?;
        set_size(&controller, rows, columns)?;
        Ok(Self { controller, terminal })
    }
}

/// Changes a terminal's size; the kernel tells the programs in front by SIGWINCH.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
}

/// A session of its own, with `terminal` as its controlling terminal. In the child, before the locks.
pub fn become_session_leader(terminal: impl AsFd) -> Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(terminal)
}
