//! Every connection of the gateway, and the socket where new ones arrive.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::SocketFlags,
    process::{Uid, geteuid},
};

use crate::link::{Link, LinkId, Role};

/// More connections than this are not accepted at a time.
const MOST: usize = 256;

/// What an id that is not mapped looks like.
pub(crate) const OVERFLOW_ID: u32 = 65534;

/// Who may connect: the gateway's own user, from outside of the sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// The gateway's uid, as this process sees it: the overflow id where it is not mapped.
    pub(crate) uid: u32,
    /// In the sandbox's pid namespace a process of the host has no number; before, it has one.
    pub(crate) inside: bool,
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Links {
    listener: OwnedFd,
    gate: Gate,
    next: u64,
    open: BTreeMap<LinkId, Link>,
}

impl Links {
    /// Takes over a listening socket.
    pub(crate) fn new(listener: OwnedFd, gate: Gate) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        Ok(Self { listener, gate, next: 0, open: BTreeMap::new() })
    }

    /// The user namespace was entered by this process, which had the uid `before`: from now on the gateway's looks as
    /// it does from there. Only an ordinary user's own is mapped.
    pub(crate) fn set_gate_entered(&mut self, before: Uid) {
        let own = !before.is_root() && self.gate.uid == before.as_raw();
        self.gate.uid = if own { geteuid().as_raw() } else { OVERFLOW_ID };
    }

    /// The pid namespace was entered: from now on only who has no number in it may connect.
    pub(crate) fn set_gate_inside(&mut self) {
        self.gate.inside = true;
    }

    /// Where new connections arrive, unless there are too many already.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        (self.open.len() < MOST).then(|| self.listener.as_fd())
    }

    /// Accepts what has arrived. Whoever may not connect finds the connection closed.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        while self.open.len() < MOST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) if self.gate.admits(socket.as_fd()) => {
                    self.next += 1;
                    self.open.insert(LinkId(self.next), Link::new(socket));
                }
                Ok(_stranger) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// A connection.
    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.open.get_mut(&id)
    }

    /// A connection.
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.open.get(&id)
    }

    /// Every connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.open.iter().map(|(id, link)| (*id, link))
    }

    /// Those in this role.
    pub(crate) fn in_role(&self, role: Role) -> Vec<LinkId> {
        self.iter().filter(|(_, link)| link.role == role).map(|(id, _)| id).collect()
    }

    /// Those that are sessions.
    pub(crate) fn in_any_session(&self) -> Vec<LinkId> {
        let session = |link: &Link| matches!(link.role, Role::Session(_));
        self.iter().filter(|(_, link)| session(link)).map(|(id, _)| id).collect()
    }

    /// Closes a connection and says what it was for.
    pub(crate) fn close(&mut self, id: LinkId) -> Option<Role> {
        self.open.remove(&id).map(|link| link.role)
    }

    /// What to poll for on a connection. That its peer is gone is always told.
    pub(crate) fn interest(link: &Link, may_read: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, may_read && link.open_for_reading());
        flags.set(PollFlags::OUT, link.queued() > 0);
        flags
    }

    /// Sends what waits, everywhere. Returns the connections that are gone or over, and how much was sent.
    pub(crate) fn flush(&mut self) -> (Vec<LinkId>, usize) {
        let (mut over, mut sent) = (Vec::new(), 0);
        for (id, link) in &mut self.open {
            match link.flush() {
                Ok(n) => sent += n,
                Err(_) => {
                    over.push(*id);
                    continue;
                }
            }
            if link.is_over() {
                over.push(*id);
            }
        }
        (over, sent)
    }

    /// Bytes that nobody has taken yet.
    pub(crate) fn queued(&self) -> usize {
        self.open.values().map(Link::queued).sum()
    }
}

impl Gate {
    fn admits(self, socket: BorrowedFd<'_>) -> bool {
        let Ok(peer) = chiton_sys::spawn::peer(socket) else { return false };
        peer.uid == self.uid && (!self.inside || peer.pid == 0)
    }
}
