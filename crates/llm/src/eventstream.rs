//! Amazon's event streams: binary frames, each with its length, its headers and a payload.
//!
//! A frame is the length of all of it, the length of its headers and the checksum of these two; the headers; the payload;
//! the checksum of all that. Numbers have four bytes, the highest first. What does not keep to that is an error: nobody
//! could say where the next frame begins.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};

use crate::request::Object;

/// No frame is longer. Amazon's own are at most 24 MiB long, and those of models a few hundred bytes.
const LONGEST: usize = 8 << 20;
/// The two lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Whether a body of this type is such a stream.
pub(crate) fn is_one(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/vnd.amazon.eventstream")
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unframed {
    /// Its lengths or checksums are wrong.
    #[error("the response holds a frame of an event stream that is broken")]
    Broken,
    /// A frame is too long.
    #[error(
        "the response holds a frame of an event stream of over 8 MiB, which cannot be searched for credentials"
    )]
    TooLong,
    /// It ends within one.
    #[error("the response ends within a frame of an event stream")]
    Short,
}

/// Parts a stream into its frames, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    bytes: Bytes,
    headers: usize,
}

impl Frames {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Unframed> {
        let Some(prelude) = self.0.get(..PRELUDE) else { return Ok(None) };
        if number(prelude, 8)? != checksum(prelude.get(..8)) {
            return Err(Unframed::Broken);
        }
        let (total, headers) = (number(prelude, 0)? as usize, number(prelude, 4)? as usize);
        if total > LONGEST {
            return Err(Unframed::TooLong);
        }
        if headers > total.saturating_sub(PRELUDE + CHECKSUM) || total < PRELUDE + CHECKSUM {
            return Err(Unframed::Broken);
        }
        if self.0.len() < total {
            return Ok(None);
        }
        let bytes = self.0.split_to(total).freeze();
        if number(&bytes, total - CHECKSUM)? != checksum(bytes.get(..total - CHECKSUM)) {
            return Err(Unframed::Broken);
        }
        Ok(Some(Frame { bytes, headers }))
    }

    /// Nothing more comes.
    pub(crate) fn finish(&self) -> Result<(), Unframed> {
        if self.0.is_empty() { Ok(()) } else { Err(Unframed::Short) }
    }
}

impl Frame {
    /// As it came.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn payload(&self) -> &[u8] {
        self.bytes.get(PRELUDE + self.headers..self.bytes.len() - CHECKSUM).unwrap_or_default()
    }

    /// What it says: the payload, or what that holds as `bytes`, in base64, as `invoke` of Bedrock has it.
    pub(crate) fn told(&self) -> Vec<u8> {
        let payload = self.payload();
        let object = serde_json::from_slice::<Object<'_>>(payload);
        let held = object.iter().flat_map(|object| &object.0).filter(|(name, _)| name == "bytes");
        let held: Option<Vec<Vec<u8>>> = held
            .map(|(_, raw)| STANDARD.decode(serde_json::from_str::<String>(raw.get()).ok()?).ok())
            .collect();
        match held {
            Some(held) if !held.is_empty() => held.concat(),
            Some(_) | None => payload.to_vec(),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u32, Unframed> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    four.map(|four| u32::from_be_bytes(*four)).ok_or(Unframed::Broken)
}

fn checksum(bytes: Option<&[u8]>) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes.unwrap_or_default());
    sum.sum()
}

#[cfg(test)]
mod tests {
    use chiton_testkit::frames::{chunk, frame};
    use proptest::prelude::*;

    use super::*;

    /// What comes of a stream in pieces of these lengths, and how it ended.
    fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Frame>, Result<(), Unframed>) {
        let (mut frames, mut found, mut rest) = (Frames::default(), Vec::new(), stream);
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pieces.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            rest = after;
            frames.push(piece);
            loop {
                match frames.next() {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => break,
                    Err(error) => return (found, Err(error)),
                }
            }
        }
        (found, frames.finish())
    }

    #[test]
    fn frames_that_amazon_publishes_are_read() {
        // From the AWS SDKs' shared vectors: an empty message, and one with a payload alone.
        let empty = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        let (found, ended) = read(&empty, &[5]);
        assert_eq!((found.len(), ended), (1, Ok(())));
        let mut payload = vec![0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a];
        payload.extend(b"{'foo':'bar'}");
        payload.extend([0xc3, 0x65, 0x39, 0x36]);
        assert_eq!(read(&payload, &[1]).0[0].told(), b"{'foo':'bar'}");
    }

    #[test]
    fn what_is_in_base64_is_what_is_told() {
        let (found, _) = read(&chunk(r#"{"type":"x"}"#), &[64]);
        assert_eq!(found[0].told(), br#"{"type":"x"}"#);
        let odd = frame("chunk", br#"{"bytes":"?"}"#);
        assert_eq!(read(&odd, &[64]).0[0].told(), br#"{"bytes":"?"}"#);
        let twice = frame("chunk", br#"{"bytes":"YQ==","p":"abc","bytes":"Yg=="}"#);
        assert_eq!(read(&twice, &[64]).0[0].told(), b"ab");
    }

    #[test]
    fn what_is_broken_too_long_or_short_is_an_error() {
        let good = frame("metadata", br#"{"usage":{}}"#);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let (found, ended) = read(&bad, &[usize::MAX]);
            assert!(found.is_empty() && ended.is_err(), "{at}");
        }
        assert_eq!(read(&good[..good.len() - 1], &[7]), (vec![], Err(Unframed::Short)));
        let mut long = (9_u32 << 20).to_be_bytes().to_vec();
        long.extend([0; 4]);
        long.extend(checksum(Some(&long)).to_be_bytes());
        assert_eq!(read(&long, &[3]).1, Err(Unframed::TooLong));
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..6),
            pieces in proptest::collection::vec(1_usize..50, 1..8),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame("x", payload)).collect();
            let (found, ended) = read(&stream, &pieces);
            prop_assert_eq!(ended, Ok(()));
            let same: Vec<&[u8]> = found.iter().map(Frame::payload).collect();
            prop_assert_eq!(same, payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_makes_it_panic(stream in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..40) {
            let _ = read(&stream, &[piece]);
        }
    }
}
