//! The process that keeps root's rights for the length of the set-up.
//!
//! It answers two messages, in this order: write the maps of its parent, open the folders. Then it ends; it
//! also ends when the parent does. Its parent at that time runs our own code only.

use std::os::fd::{AsFd as _, OwnedFd};

use chiton_sys::{
    Errno, descriptors,
    namespace::{self, IdMap},
    process::{self, Fork},
};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, WaitOptions, getpid, getppid, waitpid},
};
use serde::{Deserialize, Serialize};

use crate::folders::{FolderError, FolderRequest, IdMappings, open_all};

/// The longest request or reply: one datagram.
const LONGEST: usize = 128 * 1024;

/// The helper, as its parent sees it.
#[derive(Debug)]
pub(crate) struct Helper {
    socket: OwnedFd,
    child: Pid,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    WriteMaps { inside: u32, outside: u32 },
    Open(FolderRequest),
}

type Answer = Result<(), FolderError>;

impl Helper {
    /// Forks it. Before the namespaces are entered.
    pub(crate) fn start() -> Result<Self, FolderError> {
        let parent = getpid();
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(FolderError::helper)?;
        match process::fork().map_err(FolderError::helper)? {
            Fork::Child => {
                drop(ours);
                let served = process::set_undumpable()
                    .and_then(|()| process::die_with_parent())
                    .and_then(|()| if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH) })
                    .and_then(|()| serve(&theirs, parent));
                process::exit_now(u8::from(served.is_err()));
            }
            Fork::Parent(child) => {
                drop(theirs);
                Ok(Self { socket: ours, child })
            }
        }
    }

    /// Has the maps of this process's new user namespace written.
    pub(crate) fn write_maps(&self, map: IdMap) -> Result<(), FolderError> {
        self.ask(&Ask::WriteMaps { inside: map.inside, outside: map.outside })?;
        self.answer().map(drop)
    }

    /// Asks for the folders, the last thing that the helper does; they are its answer.
    pub(crate) fn ask_for(&self, request: &FolderRequest) -> Result<(), FolderError> {
        self.ask(&Ask::Open(request.clone()))
    }

    fn ask(&self, ask: &Ask) -> Result<(), FolderError> {
        let bytes = encode(ask).map_err(FolderError::helper)?;
        descriptors::send(&self.socket, &bytes, &[]).map(drop).map_err(FolderError::helper)
    }

    /// What came of the question that was asked last.
    pub(crate) fn answer(&self) -> Result<Vec<OwnedFd>, FolderError> {
        let mut buffer = vec![0; LONGEST];
        let (length, fds) = descriptors::receive(&self.socket, &mut buffer).map_err(FolderError::helper)?;
        let answer: Answer = decode(&buffer, length).map_err(FolderError::helper)?;
        answer.map(|()| fds)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It ends when it reads the end; it is root's, so this process could not signal it.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = waitpid(Some(self.child), WaitOptions::empty());
    }
}

/// The helper's whole life.
fn serve(socket: &OwnedFd, parent: Pid) -> Result<(), Errno> {
    let mut maps = None;
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, _) = descriptors::receive(socket, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        match decode(&buffer, length)? {
            Ask::WriteMaps { inside, outside } => {
                let map = IdMap { inside, outside };
                let written = namespace::write_id_maps(Some(parent), map, map, false);
                let answer: Answer = written.map_err(|e| FolderError::helper(crate::namespaces::errno(&e)));
                descriptors::send(socket, &encode(&answer)?, &[])?;
                maps = Some(IdMappings::beginning(outside));
            }
            Ask::Open(request) => {
                let mut maps = maps.ok_or(Errno::INVAL)?;
                return answer(socket, open_all(&request, &mut maps));
            }
        }
    }
}

fn answer(socket: &OwnedFd, opened: Result<Vec<OwnedFd>, FolderError>) -> Result<(), Errno> {
    let (answer, fds): (Answer, Vec<OwnedFd>) = match opened {
        Ok(fds) => (Ok(()), fds),
        Err(e) => (Err(e), Vec::new()),
    };
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    descriptors::send(socket, &encode(&answer)?, &borrowed).map(drop)
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Errno> {
    match serde_json::to_vec(message) {
        Ok(bytes) if bytes.len() <= LONGEST => Ok(bytes),
        Ok(_) | Err(_) => Err(Errno::MSGSIZE),
    }
}

fn decode<T: for<'a> Deserialize<'a>>(buffer: &[u8], length: usize) -> Result<T, Errno> {
    serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map_err(|_| Errno::BADMSG)
}
