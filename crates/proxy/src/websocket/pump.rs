//! One direction of a WebSocket: frames of one side, checked, cleaned and written to the other.
//!
//! One batch of frames is held at a time: whoever does not read stops whoever sends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use chiton_llm::redact::{ContentCoding, Scrubber};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::frame::{self, Opcode, Piece, Reader, Side, Violation};
use crate::{limits, revision::Redactors};

/// Why a direction ends before its sender closed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// One of the two is gone, or does not read.
    #[error("a connection of a WebSocket broke: {0}")]
    Gone(#[from] io::Error),
    /// Its sender breaks the protocol.
    #[error("a WebSocket breaks the protocol: {0}")]
    Violation(#[from] Violation),
    /// What it sends cannot be cleaned.
    #[error("a message cannot be cleaned")]
    Unclean,
}

/// Takes injected values out of messages.
struct Cleaner {
    redactors: Redactors,
    /// Of the message that is under way.
    scrubber: Option<Scrubber>,
    /// What its next fragment is.
    opcode: Opcode,
}

/// One direction.
pub(crate) struct Pump<R, W> {
    from: R,
    to: W,
    side: Side,
    reader: Reader,
    input: BytesMut,
    out: BytesMut,
    /// How long `out` was before any of it was written.
    batch: usize,
    cleaner: Option<Cleaner>,
    /// A close frame is among what is to be written.
    closing: bool,
    /// It was written.
    closed: bool,
    passed: Arc<AtomicUsize>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pump<R, W> {
    /// From a side, of which these bytes were read already, to the other.
    pub(crate) fn new(side: Side, from: R, begun: BytesMut, to: W, compression: bool) -> Self {
        let reader = Reader::new(side, compression);
        Self {
            from,
            to,
            side,
            reader,
            input: begun,
            out: BytesMut::new(),
            batch: 0,
            cleaner: None,
            closing: false,
            closed: false,
            passed: Arc::default(),
        }
    }

    /// Takes these values out of what passes.
    pub(crate) fn clean(&mut self, redactors: Option<Redactors>) {
        self.cleaner =
            redactors.map(|redactors| Cleaner { redactors, scrubber: None, opcode: Opcode::Continuation });
    }

    /// Bytes of messages so far.
    pub(crate) fn passed(&self) -> Arc<AtomicUsize> {
        self.passed.clone()
    }

    /// Runs until a close frame was passed on.
    pub(crate) async fn run(&mut self) -> Result<(), Stopped> {
        loop {
            let filled = self.fill();
            self.batch = self.out.len();
            if self.batch > 0 {
                self.write().await?;
                filled?;
                continue;
            }
            filled?;
            if self.reader.is_closed() {
                return Ok(());
            }
            if read_more(&mut self.from, &mut self.input).await? == 0 {
                return Err(Stopped::Gone(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Turns what was read into what is written, up to about one piece.
    fn fill(&mut self) -> Result<(), Stopped> {
        while self.out.len() < limits::WEBSOCKET_PIECE {
            let Some(piece) = self.reader.take(&mut self.input)? else { break };
            self.pass(piece)?;
        }
        Ok(())
    }

    fn pass(&mut self, piece: Piece) -> Result<(), Stopped> {
        match piece.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.passed.fetch_add(piece.payload.len(), Ordering::Relaxed);
                for piece in self.cleaned(piece)? {
                    self.put(&piece)?;
                }
                Ok(())
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                let piece = self.cleaned_control(piece);
                self.put(&piece)
            }
        }
    }

    /// A part of a message, without injected values. What may be the beginning of one waits for the next part.
    fn cleaned(&mut self, piece: Piece) -> Result<Vec<Piece>, Stopped> {
        let Some(cleaner) = &mut self.cleaner else { return Ok(vec![piece]) };
        if piece.opcode != Opcode::Continuation {
            cleaner.opcode = piece.opcode;
            cleaner.scrubber = Some(cleaner.redactors.values.scrubber(ContentCoding::Identity));
        }
        let scrubber = cleaner.scrubber.as_mut().ok_or(Stopped::Unclean)?;
        scrubber.feed(piece.payload.freeze());
        if piece.fin {
            scrubber.end();
        }
        let mut clean: Vec<Bytes> = Vec::new();
        while let Some(bytes) = scrubber.next().map_err(|_| Stopped::Unclean)? {
            clean.push(bytes);
        }
        if piece.fin {
            cleaner.scrubber = None;
            if clean.is_empty() {
                clean.push(Bytes::new());
            }
        }
        let last = clean.len();
        Ok(clean
            .into_iter()
            .enumerate()
            .map(|(at, bytes)| Piece {
                fin: piece.fin && at + 1 == last,
                compressed: false,
                opcode: std::mem::replace(&mut cleaner.opcode, Opcode::Continuation),
                payload: BytesMut::from(bytes),
            })
            .collect())
    }

    fn cleaned_control(&self, mut piece: Piece) -> Piece {
        let Some(cleaner) = &self.cleaner else { return piece };
        // The two bytes of a close frame's code are no text.
        let begin = if piece.opcode == Opcode::Close { 2.min(piece.payload.len()) } else { 0 };
        let text = piece.payload.split_off(begin);
        match cleaner.redactors.values.scrub(&text) {
            Some(clean) => piece.payload.extend(clean.iter().take(125 - begin)),
            None => piece.payload.unsplit(text),
        }
        piece
    }

    fn put(&mut self, piece: &Piece) -> Result<(), Stopped> {
        let mask = self.mask()?;
        frame::put(&mut self.out, piece, mask);
        self.closing |= piece.opcode == Opcode::Close;
        Ok(())
    }

    /// Towards a server every frame is masked anew, by what no agent can foresee.
    fn mask(&self) -> Result<Option<[u8; 4]>, Stopped> {
        match self.side {
            Side::Server => Ok(None),
            Side::Agent => {
                let mut mask = [0; 4];
                aws_lc_rs::rand::fill(&mut mask).map_err(|_| Stopped::Gone(io::ErrorKind::Other.into()))?;
                Ok(Some(mask))
            }
        }
    }

    async fn write(&mut self) -> Result<(), Stopped> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.to.write_all_buf(&mut self.out).await?;
            self.to.flush().await
        };
        match timeout(limits::BODY_STALL, written).await {
            Ok(written) => written?,
            Err(_) => return Err(Stopped::Gone(io::ErrorKind::TimedOut.into())),
        }
        self.closed = self.closing;
        self.batch = 0;
        self.out.clear();
        if self.out.capacity() > 2 * limits::WEBSOCKET_PIECE {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// Says a close frame of ours to the receiver, and nothing after it. Frames of which nothing was written yet
    /// never are; a batch that has begun is ended first, since a close cannot stand within a frame.
    pub(crate) async fn say_close(&mut self, code: u16, why: &str) -> Result<(), Stopped> {
        if self.out.len() == self.batch {
            self.out.clear();
            self.closing = self.closed;
        }
        if !self.closing {
            self.put(&frame::close(code, why))?;
        }
        self.write().await
    }

    /// Reads what the sender still says, and drops it, until it closes or is gone.
    pub(crate) async fn await_close(&mut self) {
        loop {
            match self.reader.take(&mut self.input) {
                Ok(Some(_)) => {}
                Ok(None) if self.reader.is_closed() => return,
                Ok(None) => match read_more(&mut self.from, &mut self.input).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                },
                Err(_) => return,
            }
        }
    }

    /// Ends the writing side in good order.
    pub(crate) async fn shutdown(&mut self) {
        let _ = self.to.shutdown().await;
    }

    /// The two streams.
    pub(crate) fn into_streams(self) -> (R, W) {
        (self.from, self.to)
    }
}

async fn read_more<R: AsyncRead + Unpin>(from: &mut R, input: &mut BytesMut) -> io::Result<usize> {
    input.reserve(limits::WEBSOCKET_PIECE);
    from.read_buf(input).await
}

#[cfg(test)]
mod tests {
    use chiton_api::control::{Credential, Revised};
    use chiton_secret::SecretValue;

    use super::*;
    use crate::revision::Revision;

    const SECRET: &str = "sk-backend-0123456789abcdef";

    fn redactors() -> Redactors {
        let credential = Credential {
            reference: "local://key".parse().unwrap(),
            value: SecretValue::new(SECRET.as_bytes().to_vec()),
            hosts: None,
            valid_ms: None,
        };
        let revised = Revised { revision: 1, policy: "{}".to_owned(), credentials: vec![credential] };
        Revision::build(revised).unwrap().redactors
    }

    /// What the agent gets of these frames of a server.
    async fn passed(frames: &[(bool, Opcode, &str)]) -> Vec<Piece> {
        let mut sent = BytesMut::new();
        for (fin, opcode, payload) in frames {
            let payload = BytesMut::from(*payload);
            frame::put(&mut sent, &Piece { fin: *fin, compressed: false, opcode: *opcode, payload }, None);
        }
        let mut got = Vec::new();
        let mut pump = Pump::new(Side::Server, &sent[..], BytesMut::new(), &mut got, false);
        pump.clean(Some(redactors()));
        let ended = pump.run().await;
        assert!(matches!(ended, Ok(()) | Err(Stopped::Gone(_))), "{ended:?}");
        let (mut reader, mut got) = (Reader::new(Side::Server, false), BytesMut::from(&got[..]));
        let mut pieces = Vec::new();
        while let Some(piece) = reader.take(&mut got).unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    fn message(pieces: &[Piece]) -> String {
        let data = pieces.iter().filter(|piece| piece.opcode != Opcode::Ping);
        data.map(|piece| std::str::from_utf8(&piece.payload).unwrap()).collect()
    }

    #[tokio::test]
    async fn an_injected_value_does_not_come_back() {
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("x{SECRET}"));
        for told in [format!("key={SECRET}."), format!("{{\"k\":\"{base64}\"}}"), SECRET.repeat(2000)] {
            for cut in [1, 7, 20, told.len() / 2] {
                let (first, second) = told.split_at(cut);
                let pieces = passed(&[
                    (false, Opcode::Text, first),
                    (true, Opcode::Ping, "still there"),
                    (true, Opcode::Continuation, second),
                    (true, Opcode::Binary, "the next"),
                ])
                .await;
                let all = message(&pieces);
                assert!(!all.contains("0123456789") && !all.contains(&base64), "{all}");
                assert!(all.contains("[redacted]") && all.ends_with("the next"), "{all}");
                let data: Vec<_> = pieces.iter().filter(|piece| piece.opcode != Opcode::Ping).collect();
                assert_eq!(data.iter().filter(|piece| piece.fin).count(), 2);
                assert_eq!(data[0].opcode, Opcode::Text);
            }
        }
    }

    #[tokio::test]
    async fn nor_in_a_control_frame() {
        let pieces = passed(&[(true, Opcode::Ping, SECRET), (true, Opcode::Pong, "fine")]).await;
        assert_eq!(pieces[0].payload, b"[redacted]"[..]);
        assert_eq!(pieces[1].payload, b"fine"[..]);
        // The code 4096.
        let pieces = passed(&[(true, Opcode::Close, &format!("\u{10}\0{SECRET}"))]).await;
        assert_eq!(pieces[0].payload, b"\x10\x00[redacted]"[..]);
    }
}
