//! What passes between the two halves of the supervisor: whole messages, the first byte says which.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use chiton_api::control::Failure;
use rustix::io::Errno;

use crate::failure::ours;

/// A message.
#[derive(Debug)]
pub(crate) enum Message {
    /// From inside: the view is entered.
    Entered,
    /// From outside: lookups are judged from now on.
    Judging,
    /// From outside: why nobody will judge.
    Failed(Failure),
    /// From a process that is about to be a program: the listener of its filter.
    Listener(OwnedFd),
}

const ENTERED: u8 = b'e';
const JUDGING: u8 = b'j';
const LISTENER: u8 = b'l';
const FAILED: u8 = b'f';
/// The longest message: a failure's one line.
const LONGEST: usize = 4096;

/// Sends a message.
pub(crate) fn send(partner: BorrowedFd<'_>, message: &Message) -> Result<(), Failure> {
    let mut fds = Vec::new();
    let bytes = match message {
        Message::Entered => vec![ENTERED],
        Message::Judging => vec![JUDGING],
        Message::Failed(failure) => {
            let line = serde_json::to_vec(failure).unwrap_or_default();
            [FAILED].into_iter().chain(line).take(LONGEST).collect()
        }
        Message::Listener(listener) => {
            fds.push(listener.as_fd());
            vec![LISTENER]
        }
    };
    let sent = chiton_sys::descriptors::send(partner, &bytes, &fds);
    sent.map(drop).map_err(|e| ours("cannot reach the supervisor's other half", &e.into()))
}

/// Receives the next message; none at the end.
pub(crate) fn receive(partner: BorrowedFd<'_>) -> Result<Option<Message>, Failure> {
    let mut buffer = [0; LONGEST];
    let (got, mut fds) = chiton_sys::descriptors::receive(partner, &mut buffer).map_err(broken)?;
    let Some((first, rest)) = buffer.get(..got).and_then(<[u8]>::split_first) else { return Ok(None) };
    match (*first, fds.pop()) {
        (ENTERED, None) => Ok(Some(Message::Entered)),
        (JUDGING, None) => Ok(Some(Message::Judging)),
        (LISTENER, Some(listener)) => Ok(Some(Message::Listener(listener))),
        (FAILED, None) => {
            let failure = serde_json::from_slice(rest).map_err(|_| broken(Errno::BADMSG))?;
            Ok(Some(Message::Failed(failure)))
        }
        _ => Err(broken(Errno::BADMSG)),
    }
}

fn broken(error: Errno) -> Failure {
    ours("cannot hear from the supervisor's other half", &error.into())
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (one, other) = pair();
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        let failure = crate::failure::refused("no");
        for message in [Message::Entered, Message::Judging, Message::Failed(failure), Message::Listener(pipe)]
        {
            send(one.as_fd(), &message).unwrap();
            let received = receive(other.as_fd()).unwrap().unwrap();
            assert_eq!(std::mem::discriminant(&message), std::mem::discriminant(&received));
        }
        drop(one);
        assert!(receive(other.as_fd()).unwrap().is_none());
    }

    #[test]
    fn anything_else_is_refused() {
        let (one, other) = pair();
        for bytes in [&b"x"[..], b"l", b"f{"] {
            chiton_sys::descriptors::send(&one, bytes, &[]).unwrap();
            assert!(receive(other.as_fd()).is_err());
        }
        chiton_sys::descriptors::send(&one, b"j", &[other.as_fd()]).unwrap();
        assert!(receive(other.as_fd()).is_err());
    }
}
