//! Where the supervisor is the first process of a container: nothing of the host is open at its start. What the
//! driver would have left open it fetches, once, from a socket that is gone afterwards.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use crate::{links::Gate, outer::Papers};

/// Fetches the descriptors of [`chiton_api::descriptors`], in the order of their numbers. Whoever gives them is the
/// gateway, and its uid is the one that may connect from then on.
pub(crate) fn fetch(socket: &Path) -> io::Result<(Papers, Gate)> {
    let link = UnixStream::connect(socket)?;
    let gateway = chiton_sys::spawn::peer(link.as_fd())?;
    let (_, given) = chiton_sys::descriptors::receive(link.as_fd(), &mut [0; 1])?;
    let [listener, log, events, exit_file] = <[OwnedFd; 4]>::try_from(given)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not the four descriptors"))?;
    // In a container's own pid namespace a process of the host never has a number.
    Ok((Papers { listener, log, events, exit_file }, Gate { uid: gateway.uid, inside: true }))
}
