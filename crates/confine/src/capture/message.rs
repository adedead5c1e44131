//! Netlink messages: headers, attributes, and the answers.

use chiton_sys::{Errno, netlink::Netlink};

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const CREATE: u16 = 0x400;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const NESTED: u16 = 0x8000;

/// Messages that go in one datagram, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    last: u32,
}

/// The inside of a message or of an attribute.
#[derive(Debug)]
pub(super) struct Body<'a>(&'a mut Vec<u8>);

impl Messages {
    /// Adds a message; `fill` writes what follows the header.
    pub(super) fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body<'_>)) {
        self.last += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.last.to_ne_bytes());
        self.bytes.extend([0; 4]);
        fill(&mut Body(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Sends them all, and waits for the answer to message number `until` (which asked for one) or for the first
    /// error of any.
    pub(super) fn exchange_until(&self, socket: &Netlink, until: u32) -> Result<(), Errno> {
        socket.send(&self.bytes)?;
        let mut buffer = [0; 8192];
        loop {
            let length = socket.receive(&mut buffer)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((answer, next)) = Answer::parse(rest) {
                answer.result?;
                if answer.number >= until {
                    return Ok(());
                }
                rest = next;
            }
        }
    }

    /// Sends them all and waits for the last one's answer.
    pub(super) fn exchange(&self, socket: &Netlink) -> Result<(), Errno> {
        self.exchange_until(socket, self.last)
    }

    /// The number of the message added last.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }
}

/// What the kernel said to one message.
struct Answer {
    number: u32,
    result: Result<(), Errno>,
}

impl Answer {
    /// The next acknowledgement of a datagram. What is none (notices, cut-off messages) ends the datagram.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let number = u32_at(bytes, 8)?;
        if kind != ERROR || length < HEADER + 4 {
            return None;
        }
        let code = u32_at(bytes, HEADER)?.cast_signed();
        let result = if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.saturating_neg())) };
        Some((Self { number, result }, bytes.get(aligned(length)..).unwrap_or_default()))
    }
}

impl Body<'_> {
    /// Bytes as they stand.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// An attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.framed(kind, |body| body.raw(value));
    }

    /// An attribute that is a string with its NUL.
    pub(super) fn string(&mut self, kind: u16, value: &str) {
        self.framed(kind, |body| {
            body.raw(value.as_bytes());
            body.raw(&[0]);
        });
    }

    /// An attribute that is a number in network order.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute of attributes.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) {
        self.framed(kind | NESTED, fill);
    }

    fn framed(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(&mut Body(self.0));
        let length = self.0.len() - start;
        if let (Some(field), Ok(length)) = (self.0.get_mut(start..start + 2), u16::try_from(length)) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.0.resize(start + aligned(length), 0);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
