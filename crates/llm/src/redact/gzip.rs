//! Gzip's frame around deflate (RFC 1952), byte by byte where a read may end anywhere.

use flate2::{Crc, Decompress};

use super::decode::{Step, inflate};

/// One member after another.
pub(super) struct Gzip {
    at: Part,
    inflater: Decompress,
    crc: Crc,
}

#[derive(Clone, Copy)]
enum Part {
    /// This byte of the ten that come first; the flags once they are known.
    Fixed(u8, u8),
    /// The two bytes of the extra field's length: so many read, the value so far.
    ExtraLength(u8, u8, u16),
    Extra(u8, u16),
    /// The file's name, ended by zero.
    Name(u8),
    Comment(u8),
    /// The header's own checksum: so many bytes read.
    HeaderCrc(u8),
    Data,
    /// The checksum and the length: so many bytes read.
    Trailer(u8),
}

const HCRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

impl Default for Gzip {
    fn default() -> Self {
        Self { at: Part::Fixed(0, 0), inflater: Decompress::new(false), crc: Crc::new() }
    }
}

impl Gzip {
    /// One step, or none when the bytes are not gzip.
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Option<Step> {
        if matches!(self.at, Part::Data) {
            let step = inflate(&mut self.inflater, input, out)?;
            self.crc.update(out.get(..step.written)?);
            if step.ended {
                self.at = Part::Trailer(0);
            }
            return Some(Step { ended: false, ..step });
        }
        let mut read = 0;
        for byte in input {
            read += 1;
            let ended = self.frame(*byte)?;
            if ended || matches!(self.at, Part::Data) {
                return Some(Step { read, written: 0, ended });
            }
        }
        Some(Step { read, written: 0, ended: false })
    }

    /// Takes one byte outside the data; whether it was the member's last.
    fn frame(&mut self, byte: u8) -> Option<bool> {
        self.at = match self.at {
            Part::Fixed(0, _) if byte == 0x1f => Part::Fixed(1, 0),
            Part::Fixed(1, _) if byte == 0x8b => Part::Fixed(2, 0),
            Part::Fixed(2, _) if byte == 8 => Part::Fixed(3, 0),
            Part::Fixed(3, _) if byte & RESERVED == 0 => Part::Fixed(4, byte),
            Part::Fixed(9, flags) => after(flags, 0),
            Part::Fixed(at @ 4..9, flags) => Part::Fixed(at + 1, flags),
            Part::Fixed(..) => return None,
            Part::ExtraLength(flags, 0, _) => Part::ExtraLength(flags, 1, u16::from(byte)),
            Part::ExtraLength(flags, _, low) => match low | u16::from(byte) << 8 {
                0 => after(flags, EXTRA),
                length => Part::Extra(flags, length),
            },
            Part::Extra(flags, 1) => after(flags, EXTRA),
            Part::Extra(flags, left) => Part::Extra(flags, left - 1),
            Part::Name(flags) if byte == 0 => after(flags, NAME),
            Part::Comment(flags) if byte == 0 => after(flags, COMMENT),
            Part::HeaderCrc(0) => Part::HeaderCrc(1),
            Part::HeaderCrc(_) => Part::Data,
            part @ (Part::Name(_) | Part::Comment(_) | Part::Data) => part,
            Part::Trailer(at) => return self.trailer(at, byte),
        };
        Some(false)
    }

    fn trailer(&mut self, at: u8, byte: u8) -> Option<bool> {
        let [c0, c1, c2, c3] = self.crc.sum().to_le_bytes();
        let [l0, l1, l2, l3] = self.crc.amount().to_le_bytes();
        let wanted = [c0, c1, c2, c3, l0, l1, l2, l3];
        if wanted.get(usize::from(at)) != Some(&byte) {
            return None;
        }
        if at < 7 {
            self.at = Part::Trailer(at + 1);
            return Some(false);
        }
        *self = Self::default();
        Some(true)
    }
}

/// The part after the one with this flag; the flags are in the order of the parts.
fn after(flags: u8, done: u8) -> Part {
    let has = |flag: u8| flags & flag != 0 && flag > done;
    if has(EXTRA) {
        Part::ExtraLength(flags, 0, 0)
    } else if has(NAME) {
        Part::Name(flags)
    } else if has(COMMENT) {
        Part::Comment(flags)
    } else if flags & HCRC != 0 {
        Part::HeaderCrc(0)
    } else {
        Part::Data
    }
}
