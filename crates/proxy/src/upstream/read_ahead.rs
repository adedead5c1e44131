//! Reads ahead of a TLS library that asks for 4 KiB at a time: one system call for several of a download's records.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::{limits, stream::writes_through};

/// How much is read ahead at least.
const SMALL: usize = 8 << 10;

/// A stream whose reads are as large as they can be. What it holds is given up when nothing more is there to be read.
pub(crate) struct ReadAhead<S> {
    io: S,
    ahead: BytesMut,
    /// So much is read at once: more and more while there is so much. An answer of a few lines, which does not fill what
    /// it is asked for with, needs none.
    room: usize,
}

impl<S> ReadAhead<S> {
    /// Around a stream of which nothing was read yet.
    pub(crate) fn new(io: S) -> Self {
        Self { io, ahead: BytesMut::new(), room: 0 }
    }

    /// The stream below.
    pub(crate) const fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, ahead, room } = self.get_mut();
        if ahead.is_empty() {
            if *room < SMALL || buf.remaining() >= limits::READ_AHEAD {
                ready!(Pin::new(io).poll_read(cx, buf))?;
                if buf.remaining() == 0 {
                    *room = SMALL;
                }
                return Poll::Ready(Ok(()));
            }
            ahead.reserve(*room);
            let polled = poll_read_buf(Pin::new(io), cx, ahead);
            if polled.is_pending() {
                (*ahead, *room) = (BytesMut::new(), *room / 2);
            }
            if ready!(polled)? >= *room {
                *room = (*room * 2).min(limits::READ_AHEAD);
            }
        }
        let now = ahead.len().min(buf.remaining());
        buf.put_slice(ahead.get(..now).unwrap_or_default());
        ahead.advance(now);
        Poll::Ready(Ok(()))
    }
}

writes_through!(impl [S: AsyncWrite + Unpin] ReadAhead<S> => io);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::ReadAhead;

    #[tokio::test]
    async fn small_reads_of_large_ones_give_every_byte_in_order() {
        let (mut far, near) = tokio::io::duplex(50_000);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let whole = sent.clone();
        let sender = tokio::spawn(async move { far.write_all(&whole).await.unwrap() });
        let mut reader = ReadAhead::new(near);
        let (mut got, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let read = reader.read(&mut piece).await.unwrap();
            if read == 0 {
                break;
            }
            got.extend_from_slice(&piece[..read]);
        }
        sender.await.unwrap();
        assert!(got == sent);
        assert_eq!(reader.ahead.len(), 0);
    }
}
