//! The owners' link: the proxy asks whose a connection is, the outer half answers, on a thread of its own that begins
//! with the first question.
//!
//! The socket is made with the listeners and goes with them to the proxy, and to one that replaces it. A packet that
//! is no question is passed over: what asks then waits in vain, and its connection has no owner.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use chiton_api::{
    control::Failure,
    owner::{Answer, Asked, MAX_PACKET, Owner, Question, Script, Told},
};
use chiton_lookup::{Ends, Ownership};
use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};

use crate::failure::ours;

const STACK: usize = 256 << 10;

/// The supervisor's end, before somebody answers on it. Readable when somebody asks.
#[derive(Debug)]
pub(crate) struct Owners {
    socket: OwnedFd,
    home: PathBuf,
}

impl AsFd for Owners {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Owners {
    /// Our end and the proxy's.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), Failure> {
        let flags = SocketFlags::CLOEXEC;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let (socket, asked_on) = pair.map_err(|e| ours("cannot make the owners' link", &e.into()))?;
        Ok((Self { socket, home: PathBuf::new() }, asked_on))
    }

    /// The same, for a caller whose home is this.
    pub(crate) fn with_home(self, home: &Path) -> Self {
        Self { home: home.to_owned(), ..self }
    }

    /// Answers from now on. Without a thread to do so the question is passed over, and the next one may find one.
    pub(crate) fn serve(self, ownership: Ownership) -> Option<Self> {
        let thread = thread::Builder::new().name("owners".into()).stack_size(STACK);
        let owners = Arc::new(self);
        let serving = Arc::clone(&owners);
        let served = thread.spawn(move || {
            let mut buffer = vec![0; MAX_PACKET];
            while serving.answer_one(&ownership, &mut buffer) {}
        });
        if served.is_ok() {
            return None;
        }
        let _passed_over = rustix::net::recv(&owners.socket, &mut [0; 1], RecvFlags::DONTWAIT);
        Arc::into_inner(owners)
    }

    /// False when nobody can ask any more.
    fn answer_one(&self, ownership: &Ownership, buffer: &mut [u8]) -> bool {
        let got = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((got, _)) => got,
            Err(Errno::INTR) => return true,
            Err(_) => return false,
        };
        let asked = buffer.get(..got).and_then(|packet| serde_json::from_slice::<Asked>(packet).ok());
        let Some(Asked { id, question }) = asked else { return true };
        let answer = match question {
            Question::Owner { from, to, at, cookie } => {
                let owner = ownership.owner_of(&Ends { from, to, at, cookie });
                Answer::Owner(owner.map(|owner| self.told(owner)))
            }
            Question::LeadsTo(paths) => {
                Answer::LeadsTo(paths.iter().map(|path| ownership.leads_to(&self.absolute(path))).collect())
            }
        };
        // A path that is no text cannot be told, and matches no pattern.
        if let Ok(packet) = serde_json::to_vec(&Told { id, answer }) {
            // A proxy that takes no answers has none.
            let _ = rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
        true
    }

    fn told(&self, owner: chiton_lookup::Owner) -> Owner {
        let in_home = self.in_home(&owner.executable);
        let script = owner.script.map(|file| Script { in_home: self.in_home(&file), file });
        Owner { executable: owner.executable, in_home, fixed: owner.fixed, script }
    }

    fn in_home(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.home).ok().map(|below| Path::new("~").join(below))
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        path.strip_prefix("~").map_or_else(|_| path.to_owned(), |below| self.home.join(below))
    }
}
