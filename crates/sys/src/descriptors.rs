//! Descriptors: passing them to another process, and keeping them from the next program.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::{Errno, Result, check};

/// The most descriptors that one message carries here (the kernel's own limit is 253).
pub const MAX_DESCRIPTORS: usize = 64;

/// Marks every descriptor from `first` up close-on-exec, so that the next program inherits none of them.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: the call only sets a flag; no descriptor is closed under an owner.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Sends bytes, with descriptors attached to the first of them. At least one byte, at most
/// [`MAX_DESCRIPTORS`] descriptors. Returns how many bytes went.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    if bytes.is_empty() || fds.len() > MAX_DESCRIPTORS {
        return Err(Errno::INVAL);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
}

/// Receives bytes and the descriptors beside them, close-on-exec. Zero bytes mean the end. A message whose
/// descriptors were cut off is an error, not fewer descriptors.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((got.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_descriptor_arrives_close_on_exec_and_works() {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(send(&a, b"hello", &[reader.as_fd()]).unwrap(), 5);
        let mut buffer = [0; 16];
        let (length, mut fds) = receive(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (b"hello".as_slice(), 1));
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        writer.write_all(b"x").unwrap();
        let mut got = std::fs::File::from(fds.remove(0));
        got.read_exact(&mut buffer[..1]).unwrap();
        drop((a, writer));
        assert_eq!(receive(&b, &mut buffer).unwrap().0, 0);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn nothing_to_send_is_an_error_and_so_are_too_many_descriptors() {
        let (a, _b) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert_eq!(send(&a, b"", &[]), Err(Errno::INVAL));
        assert_eq!(send(&a, b"x", &[a.as_fd(); MAX_DESCRIPTORS + 1]), Err(Errno::INVAL));
        assert_eq!(send(&a, b"x", &[a.as_fd(); MAX_DESCRIPTORS]), Ok(1));
    }
}
