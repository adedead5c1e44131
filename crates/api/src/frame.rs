//! Framing of the links between our processes.
//!
//! *Messages*: a `u32` length in network byte order, then that many bytes of JSON: one value of a closed
//! `enum`. *Session frames*, on a connection that a `Launch` or an `Attach` turned into a session: one byte
//! of kind, a `u32` length in network byte order, the payload. The gateway passes the program's on unread.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// No message is longer: a policy is at most 4 MiB, its credentials less.
pub const MAX_MESSAGE: usize = 8 << 20;
/// No session frame carries more.
pub const MAX_SESSION_PAYLOAD: usize = 64 << 10;

/// What a session frame carries. The numbers are the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionKind {
    /// To the program: bytes of its standard input; an empty one is its end.
    Stdin = 0,
    /// From the program: bytes of standard output, or of its terminal.
    Stdout = 1,
    /// From the program: bytes of standard error.
    Stderr = 2,
    /// To the program: the terminal's size, two `u16` in network byte order, rows then columns.
    Resize = 3,
    /// To the program: a signal's number, one byte.
    Signal = 4,
    /// From the program, the last frame: JSON of [`crate::control::Exit`].
    Exit = 5,
    /// From the gateway, before the exit of a sandbox's own program: JSON of [`crate::http::Denials`].
    Refusals = 6,
}

impl SessionKind {
    /// The kind for a byte on the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Resize,
            4 => Self::Signal,
            5 => Self::Exit,
            6 => Self::Refusals,
            _ => return None,
        })
    }
}

/// The five bytes before a session frame's payload.
///
/// # Errors
/// `InvalidInput` where the payload is longer than [`MAX_SESSION_PAYLOAD`].
pub fn session_header(kind: SessionKind, len: usize) -> io::Result<[u8; 5]> {
    let len = u32::try_from(len).ok().filter(|n| *n as usize <= MAX_SESSION_PAYLOAD);
    let [a, b, c, d] = len.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.to_be_bytes();
    Ok([kind as u8, a, b, c, d])
}

/// Reads the header of a session frame: its kind and its payload's length.
///
/// # Errors
/// `InvalidData` for an unknown kind or a length over [`MAX_SESSION_PAYLOAD`].
pub fn parse_session_header(header: [u8; 5]) -> io::Result<(SessionKind, usize)> {
    let [kind, a, b, c, d] = header;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    match SessionKind::from_byte(kind) {
        Some(kind) if len <= MAX_SESSION_PAYLOAD => Ok((kind, len)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a session frame")),
    }
}

/// One message as bytes, its length before it.
///
/// # Errors
/// `InvalidData` where it does not serialize or is longer than [`MAX_MESSAGE`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let len = bytes.len() - 4;
    if len > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    for (to, from) in bytes.iter_mut().zip(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()) {
        *to = from;
    }
    Ok(bytes)
}

/// Writes one message, blocking.
///
/// # Errors
/// Those of [`encode`] and of the writer.
pub fn write_message<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one message, blocking.
///
/// # Errors
/// `UnexpectedEof` at the end, `InvalidData` for what is no such message.
pub fn read_message<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut bytes = vec![0; checked_len(len)?];
    from.read_exact(&mut bytes)?;
    decode(&bytes)
}

/// The length that four bytes announce.
///
/// # Errors
/// `InvalidData` where it is over [`MAX_MESSAGE`].
pub fn checked_len(len: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    Ok(len)
}

/// The message in `bytes`, which are without the length.
///
/// # Errors
/// `InvalidData` for what is no such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
