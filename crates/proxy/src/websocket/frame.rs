//! WebSocket frames (RFC 6455, 5): read strictly, written anew.
//!
//! [`Reader`] is pure: bytes in, pieces out. A frame of up to [`limits::WEBSOCKET_PIECE`] bytes is one piece; a longer
//! one is cut into pieces of that length, each of which can stand as a fragment of its own, so that what is held of
//! one never depends on what its sender says of its length. What comes out does not depend on how the bytes came in.

use bytes::{Buf, BufMut, BytesMut};

use crate::limits;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// The next fragment of a message.
    Continuation,
    /// The first of a text.
    Text,
    /// The first of any bytes.
    Binary,
    /// The last frame of its sender.
    Close,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

impl Opcode {
    const fn of(nibble: u8) -> Option<Self> {
        match nibble {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            // Reserved.
            _ => None,
        }
    }

    const fn nibble(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }
}

/// Who sends. An agent masks every frame, a server none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The sandbox's.
    Agent,
    /// The other.
    Server,
}

/// What is passed on in one: a frame, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The message or the frame ends with it.
    pub(crate) fin: bool,
    /// The message is compressed; said by its first piece.
    pub(crate) compressed: bool,
    /// What it is.
    pub(crate) opcode: Opcode,
    /// Without its mask.
    pub(crate) payload: BytesMut,
}

/// What no endpoint may send: the connection ends with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// A reserved bit that no extension gave a meaning.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that is none.
    #[error("a frame is of no known kind")]
    Opcode,
    /// An agent's frame without a mask, or a server's with one.
    #[error("a frame is masked, or not, against the rule")]
    Mask,
    /// A length that is not written in its shortest form, or has more than 63 bits.
    #[error("a frame's length is malformed")]
    Length,
    /// A control frame that is fragmented, or longer than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A fragment without a message, or a message within another.
    #[error("a message's fragments are out of order")]
    Fragment,
    /// A close frame with half a code, or a code that is never sent.
    #[error("a close frame has no valid code")]
    CloseCode,
}

/// A frame that is not whole yet.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    compressed: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the payload that were not taken yet.
    left: u64,
}

/// Takes one side's frames off a byte stream.
#[derive(Debug)]
pub(crate) struct Reader {
    side: Side,
    /// `permessage-deflate` was agreed on, and the first reserved bit means something.
    compression: bool,
    /// A message has begun and not ended.
    in_message: bool,
    frame: Option<Frame>,
    closed: bool,
}

impl Reader {
    /// For the frames of this side.
    pub(crate) const fn new(side: Side, compression: bool) -> Self {
        Self { side, compression, in_message: false, frame: None, closed: false }
    }

    /// Whether its sender has said that nothing follows.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next piece off the front of `buffer`; none where more bytes are needed, or after a close frame.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Violation> {
        if self.closed {
            return Ok(None);
        }
        if self.frame.is_none() {
            self.frame = self.header(buffer)?;
        }
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(limits::WEBSOCKET_PIECE);
        if buffer.len() < length {
            return Ok(None);
        }
        let mut payload = buffer.split_to(length);
        apply_mask(&mut payload, frame.mask);
        frame.mask.rotate_left(length % 4);
        frame.left -= length as u64;
        let whole = frame.left == 0;
        let piece =
            Piece { fin: frame.fin && whole, compressed: frame.compressed, opcode: frame.opcode, payload };
        // What follows of the same frame goes on where this ends.
        frame.opcode = Opcode::Continuation;
        frame.compressed = false;
        if whole {
            self.frame = None;
        }
        if piece.opcode == Opcode::Close {
            check_close(&piece.payload)?;
            self.closed = true;
        }
        Ok(Some(piece))
    }

    /// Takes a whole header; none where it is not there yet.
    fn header(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let &[first, second, ..] = &buffer[..] else { return Ok(None) };
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        if first & 0x30 != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Opcode)?;
        let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
        if compressed && !(self.compression && starts) {
            return Err(Violation::ReservedBit);
        }
        let masked = second & 0x80 != 0;
        if masked != (self.side == Side::Agent) {
            return Err(Violation::Mask);
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if !fin || short > 125 {
                return Err(Violation::Control);
            }
        } else if starts == self.in_message {
            return Err(Violation::Fragment);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let end = 2 + extended + if masked { 4 } else { 0 };
        let Some(rest) = buffer.get(2..end) else { return Ok(None) };
        let (digits, mask) = rest.split_at_checked(extended).unwrap_or_default();
        let left = length(short, digits)?;
        let mask = mask.try_into().unwrap_or_default();
        buffer.advance(end);
        if !opcode.is_control() {
            self.in_message = !fin;
        }
        Ok(Some(Frame { fin, compressed, opcode, mask, left }))
    }
}

/// The length that seven bits or the digits after them say, in the shortest form that can.
fn length(short: u8, digits: &[u8]) -> Result<u64, Violation> {
    let value = digits.iter().fold(0, |value, digit| value << 8 | u64::from(*digit));
    match short {
        126 if value < 126 => Err(Violation::Length),
        127 if value <= u64::from(u16::MAX) || value >> 63 != 0 => Err(Violation::Length),
        126 | 127 => Ok(value),
        _ => Ok(u64::from(short)),
    }
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload {
        [] => Ok(()),
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            // 1005, 1006 and 1015 are for what was never sent, 1004 is for nobody.
            1004..=1006 | 1015 => Err(Violation::CloseCode),
            1000..=4999 => Ok(()),
            _ => Err(Violation::CloseCode),
        },
        [_] => Err(Violation::CloseCode),
    }
}

/// Writes one frame; `mask` where an agent's side has to.
pub(crate) fn put(out: &mut BytesMut, piece: &Piece, mask: Option<[u8; 4]>) {
    let fin = if piece.fin { 0x80 } else { 0 };
    let compressed = if piece.compressed { 0x40 } else { 0 };
    out.put_u8(fin | compressed | piece.opcode.nibble());
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let length = piece.payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.put_u8(masked | short),
        (_, Ok(medium)) => {
            out.put_u8(masked | 126);
            out.put_u16(medium);
        }
        (_, Err(_)) => {
            out.put_u8(masked | 127);
            out.put_u64(length as u64);
        }
    }
    if let Some(mask) = mask {
        out.put_slice(&mask);
    }
    let begin = out.len();
    out.put_slice(&piece.payload);
    if let (Some(mask), Some(payload)) = (mask, out.get_mut(begin..)) {
        apply_mask(payload, mask);
    }
}

/// A close frame of ours.
pub(crate) fn close(code: u16, why: &str) -> Piece {
    let mut payload = BytesMut::with_capacity(2 + why.len());
    payload.put_u16(code);
    payload.put_slice(why.as_bytes());
    Piece { fin: true, compressed: false, opcode: Opcode::Close, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(side: Side, compression: bool, bytes: &[u8]) -> Result<Vec<Piece>, Violation> {
        let (mut reader, mut buffer) = (Reader::new(side, compression), BytesMut::from(bytes));
        let mut pieces = Vec::new();
        while let Some(piece) = reader.take(&mut buffer)? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn piece(opcode: Opcode, fin: bool, payload: &[u8]) -> Piece {
        Piece { fin, compressed: false, opcode, payload: BytesMut::from(payload) }
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 200_000] {
            let sent = piece(Opcode::Binary, true, &vec![b'x'; length]);
            for (side, mask) in [(Side::Server, None), (Side::Agent, Some([1, 2, 3, 4]))] {
                let mut bytes = BytesMut::new();
                put(&mut bytes, &sent, mask);
                let pieces = read(side, false, &bytes).unwrap();
                let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.payload.to_vec()).collect();
                assert_eq!(whole, sent.payload, "{length}");
                assert_eq!(pieces.len(), length.div_ceil(limits::WEBSOCKET_PIECE).max(1));
                let (last, before) = pieces.split_last().unwrap();
                assert!(last.fin && before.iter().all(|piece| !piece.fin));
                assert_eq!(pieces[0].opcode, Opcode::Binary);
                assert!(pieces[1..].iter().all(|piece| piece.opcode == Opcode::Continuation));
            }
        }
    }

    #[test]
    fn a_message_in_fragments_with_a_ping_between() {
        let pieces = read(Side::Server, false, b"\x01\x03abc\x89\x01p\x00\x01d\x80\x00").unwrap();
        assert_eq!(
            pieces,
            [
                piece(Opcode::Text, false, b"abc"),
                piece(Opcode::Ping, true, b"p"),
                piece(Opcode::Continuation, false, b"d"),
                piece(Opcode::Continuation, true, b""),
            ]
        );
    }

    #[test]
    fn nothing_is_read_after_a_close() {
        let pieces = read(Side::Server, false, b"\x88\x02\x03\xe8\x81\x01a").unwrap();
        assert_eq!(pieces, [close(1000, "")]);
    }

    #[test]
    fn violations() {
        for (bytes, wanted) in [
            (&b"\x91\x00"[..], Violation::ReservedBit),
            (b"\xa1\x00", Violation::ReservedBit),
            (b"\xc1\x00", Violation::ReservedBit),
            (b"\x83\x00", Violation::Opcode),
            (b"\x8b\x00", Violation::Opcode),
            (b"\x81\x80\x00\x00\x00\x00", Violation::Mask),
            (b"\x81\x7e\x00\x7d", Violation::Length),
            (b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", Violation::Length),
            (b"\x81\x7f\x80\x00\x00\x00\x00\x01\x00\x00", Violation::Length),
            (b"\x09\x00", Violation::Control),
            (b"\x89\x7e\x00\x7e", Violation::Control),
            (b"\x80\x00", Violation::Fragment),
            (b"\x01\x00\x81\x00", Violation::Fragment),
            (b"\x88\x01\x03", Violation::CloseCode),
            (b"\x88\x02\x03\xed", Violation::CloseCode),
            (b"\x88\x02\x00\x01", Violation::CloseCode),
            (b"\x88\x02\xff\xff", Violation::CloseCode),
        ] {
            assert_eq!(read(Side::Server, false, bytes), Err(wanted), "{bytes:02x?}");
        }
        assert_eq!(read(Side::Agent, false, b"\x81\x00"), Err(Violation::Mask));
        // With the extension the first bit is the first frame's only, and no control frame's.
        assert!(read(Side::Server, true, b"\xc1\x00").is_ok());
        assert_eq!(read(Side::Server, true, b"\x01\x00\xc0\x00"), Err(Violation::ReservedBit));
        assert_eq!(read(Side::Server, true, b"\xc9\x00"), Err(Violation::ReservedBit));
    }
}
