//! One connection of the gateway: what came in and is not yet read, and what waits to go out.
//! Nothing here blocks. Requests come one at a time; a session's frames go on as they come.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chiton_api::{
    control::{Failure, SupervisorReply, SupervisorRequest},
    frame::{self, SessionKind},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown},
};

use crate::program::ProgramId;

/// A program waits when this much of its output is not yet taken by its session.
pub(crate) const HIGH_WATER: usize = 256 << 10;
const READ_SIZE: usize = frame::MAX_SESSION_PAYLOAD + 5;

/// Names a connection for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// What a connection is for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests are read from it.
    Control,
    /// Its request is not answered yet; the next one waits.
    Pending,
    /// It is answered when the main program has ended.
    Waiting,
    /// It carries session frames of this program.
    Session(ProgramId),
    /// All was said; what still comes in is dropped until the peer closes.
    Closing,
}

/// What reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Something, or nothing yet.
    More,
    /// The peer sends no more.
    End,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    inbox: Vec<u8>,
    outbox: VecDeque<Chunk>,
    queued: usize,
    ended: bool,
    shut: bool,
    /// What it is for.
    pub(crate) role: Role,
}

/// Bytes on their way, and the descriptors that go with the first of them.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Link {
    /// A connection, freshly accepted and nonblocking.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let (inbox, outbox) = (Vec::new(), VecDeque::new());
        Self { socket, inbox, outbox, queued: 0, ended: false, shut: false, role: Role::Control }
    }

    /// Bytes that the peer has not taken yet.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the peer may still send.
    pub(crate) fn open_for_reading(&self) -> bool {
        !self.ended
    }

    /// Whether it may be forgotten: all was said, and the peer has closed.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.queued == 0 && !matches!(self.role, Role::Session(_) | Role::Pending)
    }

    /// Reads once into the inbox.
    pub(crate) fn fill(&mut self) -> io::Result<Filled> {
        let before = self.inbox.len();
        if before > frame::MAX_MESSAGE + 4 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.inbox.resize(before + READ_SIZE, 0);
        let room = self.inbox.get_mut(before..).unwrap_or_default();
        let read = rustix::net::recv(&self.socket, room, RecvFlags::DONTWAIT).map(|(n, _)| n);
        self.inbox.truncate(before + read.unwrap_or(0));
        if self.role == Role::Closing {
            self.inbox.clear();
        }
        match read {
            Ok(0) => {
                self.ended = true;
                Ok(Filled::End)
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Filled::More),
            Err(e) => Err(e.into()),
        }
    }

    /// The next whole request, if it has come.
    pub(crate) fn next_request(&mut self) -> io::Result<Option<SupervisorRequest>> {
        let Some(&length) = self.inbox.first_chunk::<4>() else { return Ok(None) };
        let end = 4 + frame::checked_len(length)?;
        let Some(bytes) = self.inbox.get(4..end) else { return Ok(None) };
        let request = frame::decode(bytes)?;
        self.inbox.drain(..end);
        Ok(Some(request))
    }

    /// The next whole session frame, if it has come.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<(SessionKind, Vec<u8>)>> {
        let Some(&header) = self.inbox.first_chunk::<5>() else { return Ok(None) };
        let (kind, len) = frame::parse_session_header(header)?;
        let Some(payload) = self.inbox.get(5..5 + len) else { return Ok(None) };
        let payload = payload.to_vec();
        self.inbox.drain(..5 + len);
        Ok(Some((kind, payload)))
    }

    /// Answers the request in hand, with descriptors where the answer names some.
    pub(crate) fn reply(&mut self, reply: &SupervisorReply, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.push(frame::encode(reply)?, descriptors);
        if matches!(self.role, Role::Pending | Role::Waiting) {
            self.role = Role::Control;
        }
        Ok(())
    }

    /// Answers the request in hand with a failure.
    pub(crate) fn refuse(&mut self, failure: Failure) -> io::Result<()> {
        self.reply(&SupervisorReply::Failed(failure), Vec::new())
    }

    /// Queues one session frame; a payload that is too long for one is an error.
    pub(crate) fn push_frame(&mut self, kind: SessionKind, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + 5);
        bytes.extend_from_slice(&frame::session_header(kind, payload.len())?);
        bytes.extend_from_slice(payload);
        self.push(bytes, Vec::new());
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) {
        self.queued += bytes.len();
        self.outbox.push_back(Chunk { bytes, sent: 0, descriptors });
    }

    /// Sends as much as the socket takes now. Says how much that was.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let before = self.queued;
        while let Some(chunk) = self.outbox.front_mut() {
            match chunk.send(self.socket.as_fd()) {
                Ok(sent) => self.queued = self.queued.saturating_sub(sent),
                Err(Errno::AGAIN) => return Ok(before - self.queued),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if self.outbox.front().is_some_and(Chunk::is_sent) {
                self.outbox.pop_front();
            }
        }
        if self.role == Role::Closing && !self.shut {
            self.shut = true;
            rustix::net::shutdown(&self.socket, Shutdown::Write)?;
        }
        Ok(before - self.queued)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Chunk {
    fn is_sent(&self) -> bool {
        self.sent >= self.bytes.len()
    }

    fn send(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = if self.descriptors.is_empty() {
            rustix::net::send(socket, rest, flags)?
        } else {
            let fds: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(Errno::INVAL);
            }
            rustix::net::sendmsg(socket, &[IoSlice::new(rest)], &mut control, flags)?
        };
        self.descriptors.clear();
        self.sent += sent;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Link::new(ours.into()), theirs)
    }

    #[test]
    fn requests_come_whole_and_in_order() {
        let (mut link, mut peer) = pair();
        let mut bytes = frame::encode(&SupervisorRequest::Wait).unwrap();
        bytes.extend(frame::encode(&SupervisorRequest::Signal(15)).unwrap());
        let (first, rest) = bytes.split_at(6);
        peer.write_all(first).unwrap();
        assert_eq!(link.fill().unwrap(), Filled::More);
        assert!(link.next_request().unwrap().is_none());
        peer.write_all(rest).unwrap();
        link.fill().unwrap();
        assert!(matches!(link.next_request().unwrap(), Some(SupervisorRequest::Wait)));
        assert!(matches!(link.next_request().unwrap(), Some(SupervisorRequest::Signal(15))));
        drop(peer);
        assert_eq!(link.fill().unwrap(), Filled::End);
        assert!(link.is_over());
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x06\"nope\""] {
            let (mut link, mut peer) = pair();
            peer.write_all(bytes).unwrap();
            link.fill().unwrap();
            assert!(link.next_request().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_blocks_nothing() {
        let (mut link, mut peer) = pair();
        let piece = vec![7; frame::MAX_SESSION_PAYLOAD];
        for _ in 0..20 {
            link.push_frame(SessionKind::Stdout, &piece).unwrap();
        }
        link.flush().unwrap();
        assert!(link.queued() > 0);
        let mut taken = 0;
        let mut buffer = vec![0; 1 << 20];
        while taken < 20 * (piece.len() + 5) {
            taken += peer.read(&mut buffer).unwrap();
            link.flush().unwrap();
        }
        assert_eq!(link.queued(), 0);
    }

    #[test]
    fn a_frame_that_is_too_long_is_an_error() {
        let (mut link, mut peer) = pair();
        peer.write_all(b"\0\x00\x01\x00\x01").unwrap();
        link.fill().unwrap();
        assert!(link.next_frame().is_err());
        assert!(link.push_frame(SessionKind::Stdout, &vec![0; frame::MAX_SESSION_PAYLOAD + 1]).is_err());
    }
}
