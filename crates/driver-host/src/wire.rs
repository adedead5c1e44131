//! The driver's end of the control links: one message out, one back, descriptors beside them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use chiton_api::frame;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

/// How long a set-up step may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sends one message, descriptors attached to its first byte.
///
/// # Errors
/// Those of the link; a message that is too long.
pub async fn send<T: Serialize>(
    link: &mut UnixStream,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = frame::encode(message)?;
    let first = || io::Result::Ok(chiton_sys::descriptors::send(link.as_fd(), &bytes, descriptors)?);
    // A link has room nearly always: the event loop is asked where it has none.
    let sent = match first() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            link.async_io(Interest::WRITABLE, first).await?
        }
        sent => sent?,
    };
    link.write_all(bytes.get(sent..).unwrap_or_default()).await
}

/// Receives one message and what came beside it; not a byte more.
///
/// # Errors
/// The link's end, and what is no such message.
pub async fn receive<T: DeserializeOwned>(link: &mut UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let first = || Ok(chiton_sys::descriptors::receive(link.as_fd(), &mut length)?);
    let (got, descriptors) = link.async_io(Interest::READABLE, first).await?;
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    link.read_exact(length.get_mut(got..).unwrap_or_default()).await?;
    let mut bytes = vec![0; frame::checked_len(length)?];
    link.read_exact(&mut bytes).await?;
    Ok((frame::decode(&bytes)?, descriptors))
}

/// One message out, one back.
///
/// # Errors
/// As [`send`] and [`receive`].
pub async fn ask<T: Serialize, R: DeserializeOwned>(
    link: &mut UnixStream,
    message: &T,
) -> io::Result<(R, Vec<OwnedFd>)> {
    hand_over(link, message, &[]).await
}

/// [`ask`], with descriptors beside the message.
///
/// # Errors
/// As [`ask`].
pub async fn hand_over<T: Serialize, R: DeserializeOwned>(
    link: &mut UnixStream,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(R, Vec<OwnedFd>)> {
    send(link, message, descriptors).await?;
    receive(link).await
}

/// [`ask`], but not for ever.
///
/// # Errors
/// As [`ask`], and no answer within [`PATIENCE`].
pub async fn ask_soon<T: Serialize, R: DeserializeOwned>(
    link: &mut UnixStream,
    message: &T,
) -> io::Result<(R, Vec<OwnedFd>)> {
    match tokio::time::timeout(PATIENCE, ask(link, message)).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_their_message_and_no_byte_is_lost() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let (read, _write) = io::pipe().unwrap();
        send(&mut one, &"first", &[read.as_fd(), read.as_fd()]).await.unwrap();
        send(&mut one, &"second", &[]).await.unwrap();
        let (message, descriptors) = receive::<String>(&mut other).await.unwrap();
        assert_eq!((message.as_str(), descriptors.len()), ("first", 2));
        let (message, descriptors) = receive::<String>(&mut other).await.unwrap();
        assert_eq!((message.as_str(), descriptors.len()), ("second", 0));
        drop(one);
        let end = receive::<String>(&mut other).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
