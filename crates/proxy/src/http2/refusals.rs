//! What the HTTP/2 library refuses by itself, read off the frames that it writes: it tells nobody else.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The head of a frame (RFC 9113, 4.1).
const HEAD: usize = 9;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// Error codes (RFC 9113, 7).
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A stream over the limits of streams or requests.
    Stream,
    /// The connection, for being over a limit.
    OverLimit,
    /// The connection, for breaking the protocol.
    Broken,
}

/// Takes written bytes apart, as far as refusals can be told from them.
#[derive(Debug, Default)]
struct Frames {
    /// The head of the frame, and the beginning of its payload where that says why.
    begun: Vec<u8>,
    /// So much of its payload passes unread.
    skip: usize,
}

impl Frames {
    /// Reads on, and calls `refused` for each refusal.
    fn read(&mut self, mut bytes: &[u8], mut refused: impl FnMut(Refusal)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let (wanted, length) = self.wanted();
            let taken = (wanted - self.begun.len()).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            self.begun.extend_from_slice(now);
            bytes = rest;
            if self.begun.len() < wanted || self.wanted().0 > wanted {
                continue;
            }
            let length = if wanted == HEAD { self.wanted().1 } else { length };
            self.skip = (HEAD + length).saturating_sub(wanted);
            refusal(&self.begun).into_iter().for_each(&mut refused);
            self.begun.clear();
        }
    }

    /// How much of the frame is read, as far as is known, and how long its payload is.
    fn wanted(&self) -> (usize, usize) {
        let Some([a, b, c, kind, ..]) = self.begun.get(..HEAD) else { return (HEAD, 0) };
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
        let told = match *kind {
            RST_STREAM => 4,
            GOAWAY => 8,
            _ => 0,
        };
        (HEAD + told.min(length), length)
    }
}

fn refusal(begun: &[u8]) -> Option<Refusal> {
    let code = begun.last_chunk::<4>().map(|code| u32::from_be_bytes(*code));
    match (begun.get(3)?, begun.len() - HEAD, code?) {
        (&RST_STREAM, 4, REFUSED_STREAM) => Some(Refusal::Stream),
        (&GOAWAY, 8, NO_ERROR) => None,
        (&GOAWAY, 8, FRAME_SIZE_ERROR | ENHANCE_YOUR_CALM) => Some(Refusal::OverLimit),
        (&GOAWAY, 8, _) => Some(Refusal::Broken),
        _ => None,
    }
}

/// A byte stream of which what is to be written is watched.
pub(super) struct Watched<IO, F> {
    io: IO,
    frames: Frames,
    /// So much of what the writer has ready was read already, and is not written yet.
    ahead: usize,
    refused: F,
}

impl<IO, F: FnMut(Refusal)> Watched<IO, F> {
    /// `refused` is called for each refusal, before any of it is sent.
    pub(super) fn new(io: IO, refused: F) -> Self {
        Self { io, frames: Frames::default(), ahead: 0, refused }
    }

    /// Reads what is about to be written, each byte once: what could not be written is offered again.
    fn look(&mut self, parts: &[io::IoSlice<'_>]) {
        let mut known = self.ahead;
        for part in parts {
            let new = part.get(known.min(part.len())..).unwrap_or_default();
            known = known.saturating_sub(part.len());
            self.ahead += new.len();
            self.frames.read(new, &mut self.refused);
        }
    }

    fn written(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.ahead = self.ahead.saturating_sub(*written);
        }
        polled
    }
}

impl<IO: AsyncRead + Unpin, F: Unpin> AsyncRead for Watched<IO, F> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, to)
    }
}

impl<IO: AsyncWrite + Unpin, F: FnMut(Refusal) + Unpin> AsyncWrite for Watched<IO, F> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look(&[io::IoSlice::new(bytes)]);
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look(bytes);
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn refusals_are_found_however_the_frames_are_cut() {
        let goaway = |code: u8| frame(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, code]);
        let frames = [
            frame(4, &[]),
            frame(0, &[7; 300]),
            frame(RST_STREAM, &[0, 0, 0, 7]),
            frame(1, &[0; 11]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            goaway(0),
            goaway(6),
            [&goaway(11)[..9], &[0, 0, 0, 1, 0, 0, 0, 11]].concat(),
            frame(6, &[0; 8]),
            goaway(1),
        ]
        .concat();
        for step in 1..frames.len() {
            let (mut read, mut found) = (Frames::default(), Vec::new());
            frames.chunks(step).for_each(|bytes| read.read(bytes, |refusal| found.push(refusal)));
            let expected = [Refusal::Stream, Refusal::OverLimit, Refusal::OverLimit, Refusal::Broken];
            assert_eq!(found, expected, "{step}");
            assert!(read.begun.is_empty() && read.skip == 0);
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_and_before_any_of_it_is_sent() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut agent, near) = tokio::io::duplex(5);
        let (told, tells) = std::sync::mpsc::channel();
        let mut watched = Watched::new(near, move |refusal| told.send(refusal).unwrap());
        let frames = [frame(0, &[7; 3]), frame(RST_STREAM, &[0, 0, 0, 7])].concat();
        let whole = frames.clone();
        let writer = tokio::spawn(async move {
            watched.write_all(&whole).await.unwrap();
            watched.write_all(&whole).await.unwrap();
        });
        let (mut got, mut first) = (vec![0; 2 * frames.len()], [0]);
        agent.read_exact(&mut first).await.unwrap();
        assert_eq!(tells.try_recv(), Ok(Refusal::Stream));
        agent.read_exact(&mut got[1..]).await.unwrap();
        writer.await.unwrap();
        assert_eq!(tells.into_iter().collect::<Vec<_>>(), [Refusal::Stream]);
    }
}
