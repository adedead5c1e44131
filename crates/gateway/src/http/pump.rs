//! A session: bytes from one connection to the other.
//!
//! What is in the frames is not read. Of those that come from the sandbox the kind is looked at: before the
//! word that the main program has ended is passed on, the sandbox is marked as ending, so that what its user
//! asks next is answered by its record as it will be.

use std::{io, sync::Arc};

use chiton_api::frame::{MAX_SESSION_PAYLOAD, SessionKind, parse_session_header};
use chiton_driver::Link;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::sandbox::Live;

const HEADER: usize = 5;

/// Copies until the sandbox's side has ended, or the user's is gone.
pub(super) async fn pump<C>(client: C, sandbox: Link, main: Option<Arc<Live>>)
where
    C: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_sandbox, mut to_sandbox) = tokio::io::split(sandbox);
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_sandbox).await;
        // The supervisor sees its session's user go.
        let _ = to_sandbox.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut watch = Watch::default();
        let passed = pass_on(&mut from_sandbox, &mut to_client, |chunk| {
            if watch.sees_exit(chunk)
                && let Some(live) = &main
            {
                live.exiting();
            }
        });
        if let Err(error) = passed.await {
            tracing::debug!(%error, "a session was cut");
        }
        let _ = to_client.shutdown().await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}

async fn pass_on(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut look: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; MAX_SESSION_PAYLOAD];
    loop {
        let read = from.read(&mut buffer).await?;
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(());
        }
        look(chunk);
        to.write_all(chunk).await?;
        to.flush().await?;
    }
}

/// Follows the headers of frames through chunks that know nothing of them.
#[derive(Debug, Default)]
struct Watch {
    header: Vec<u8>,
    payload: usize,
    lost: bool,
}

impl Watch {
    /// Whether an exit frame begins in this chunk.
    fn sees_exit(&mut self, mut chunk: &[u8]) -> bool {
        let mut exit = false;
        while !chunk.is_empty() && !self.lost {
            if self.payload > 0 {
                let skipped = self.payload.min(chunk.len());
                self.payload -= skipped;
                chunk = chunk.get(skipped..).unwrap_or_default();
                continue;
            }
            let missing = HEADER.saturating_sub(self.header.len()).min(chunk.len());
            let (head, rest) = chunk.split_at(missing);
            self.header.extend_from_slice(head);
            chunk = rest;
            let Ok(header) = <[u8; HEADER]>::try_from(self.header.as_slice()) else { continue };
            self.header.clear();
            match parse_session_header(header) {
                Ok((kind, length)) => {
                    exit |= kind == SessionKind::Exit;
                    self.payload = length;
                }
                // Not frames: passed on all the same, for the other end to refuse.
                Err(_) => self.lost = true,
            }
        }
        exit
    }
}

#[cfg(test)]
mod tests {
    use chiton_api::frame::session_header;

    use super::*;

    fn frame(kind: SessionKind, payload: &[u8]) -> Vec<u8> {
        [&session_header(kind, payload.len()).unwrap()[..], payload].concat()
    }

    #[test]
    fn an_exit_is_seen_however_the_chunks_fall_and_only_as_a_header() {
        let fake = frame(SessionKind::Exit, b"{}");
        let bytes = [
            frame(SessionKind::Stdout, &fake),
            frame(SessionKind::Stdout, b""),
            frame(SessionKind::Exit, b"{}"),
        ];
        let (before, bytes) = (bytes[0].len() + bytes[1].len(), bytes.concat());
        for size in 1..bytes.len() {
            let mut watch = Watch::default();
            let mut seen = None;
            for (index, chunk) in bytes.chunks(size).enumerate() {
                if watch.sees_exit(chunk) {
                    seen = seen.or(Some((index + 1) * size));
                }
            }
            assert!(seen.is_some_and(|end| end >= before + HEADER), "{size}");
        }
    }

    #[test]
    fn nonsense_is_no_exit() {
        let mut watch = Watch::default();
        assert!(!watch.sees_exit(&[9; 64]));
        assert!(!watch.sees_exit(&frame(SessionKind::Exit, b"{}")));
    }
}
