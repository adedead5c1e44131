//! What the supervisor holds of the host comes to it once, over a link. Where it is the first process of a container,
//! nothing of the host is open at its start: it finds the link at a socket that is gone afterwards.

use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use chiton_api::ordered::Ordered;

use crate::{links::Gate, ordered::differs, outer::Papers};

/// Fetches the descriptors of [`chiton_api::descriptors`], in the order of their numbers. Whoever gives them is the
/// gateway, and its uid is the one that may connect from then on.
///
/// Where something is not as it was ordered, it says so, and takes nothing.
pub(crate) fn fetch(socket: &Path, ordered: Option<Ordered>) -> io::Result<(Papers, Gate)> {
    let mut link = UnixStream::connect(socket)?;
    if let Some(ordered) = ordered {
        let differs = differs(&ordered);
        link.write_all(differs.as_deref().unwrap_or("\0").as_bytes())?;
        if let Some(differs) = differs {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, differs));
        }
    }
    let gateway = chiton_sys::spawn::peer(link.as_fd())?;
    // In a container's own pid namespace a process of the host never has a number.
    Ok((receive(link.as_fd())?, Gate { uid: gateway.uid, inside: true }))
}

/// Waits for the descriptors. Whoever started this process may be gone before: then there are none.
pub(crate) fn receive(link: BorrowedFd<'_>) -> io::Result<Papers> {
    let (_, given) = chiton_sys::descriptors::receive(link, &mut [0; 1])?;
    let [listener, log, events, exit_file] = <[OwnedFd; 4]>::try_from(given)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not the four descriptors"))?;
    Ok(Papers { listener, log, events, exit_file })
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn who_is_not_what_was_ordered_says_so_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        // This test is not the first process of any container.
        let ordered = Ordered { uid: 0, gid: 0, memory: None, cpus: false, mounts: Vec::new() };
        let fetched = std::thread::spawn(move || fetch(&socket, Some(ordered)).map(drop));
        let (mut link, _) = listener.accept().unwrap();
        link.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut said = String::new();
        link.read_to_string(&mut said).unwrap();
        assert!(said.contains("not the first process"), "{said}");
        assert_eq!(fetched.join().unwrap().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
