//! Undoing a content coding, in pieces of bounded length.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header::CONTENT_ENCODING};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use super::gzip::Gzip;

/// A content coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// None.
    Identity,
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `deflate`: zlib, and the raw stream that some servers send under that name.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`, with the window that RFC 8878 sets for the web.
    Zstd,
}

/// The content coding is none that can be undone, so that nothing can be said of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a content encoding that was not asked for and cannot be undone")]
pub struct UnknownCoding;

/// What to ask upstream for: everything that can be undone.
pub const ACCEPT_ENCODING: &str = "gzip, deflate, br, zstd";

impl ContentCoding {
    /// What the headers say. More than one coding on top of each other is not undone.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn of(headers: &HeaderMap) -> Result<Self, UnknownCoding> {
        let mut coding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| UnknownCoding)?.split(',') {
                let next = Self::named(name.trim()).ok_or(UnknownCoding)?;
                if coding != Self::Identity && next != Self::Identity {
                    return Err(UnknownCoding);
                }
                coding = if next == Self::Identity { coding } else { next };
            }
        }
        Ok(coding)
    }

    fn named(name: &str) -> Option<Self> {
        const NAMES: [(&str, ContentCoding); 7] = [
            ("", ContentCoding::Identity),
            ("identity", ContentCoding::Identity),
            ("gzip", ContentCoding::Gzip),
            ("x-gzip", ContentCoding::Gzip),
            ("deflate", ContentCoding::Deflate),
            ("br", ContentCoding::Brotli),
            ("zstd", ContentCoding::Zstd),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, coding)| *coding)
    }
}

/// The content is not what its coding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be decoded.
    #[error("the response's {0} content is damaged")]
    Damaged(&'static str),
    /// It ends too early.
    #[error("the response's {0} content ends too early")]
    Truncated(&'static str),
}

/// One step of a codec.
#[derive(Clone, Copy, Default)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    /// The stream is whole; another may follow where the coding allows it.
    pub(super) ended: bool,
}

type BrotliState = brotli_decompressor::BrotliState<
    brotli_decompressor::StandardAlloc,
    brotli_decompressor::StandardAlloc,
    brotli_decompressor::StandardAlloc,
>;

enum Codec {
    Identity,
    Gzip(Gzip),
    Deflate(Deflate),
    Brotli(Box<BrotliState>),
    Zstd(zstd::stream::raw::Decoder<'static>),
    /// The library refused to start.
    Broken,
}

/// Zlib, or raw: the first two bytes tell.
enum Deflate {
    Unknown,
    /// The first byte came alone.
    First(u8),
    Known(Decompress),
}

pub(super) struct Decoder {
    codec: Codec,
    name: &'static str,
    state: Progress,
    out: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Untouched,
    Within,
    Ended,
}

const ZSTD_WINDOW_LOG: u32 = 23;

impl Decoder {
    pub(super) fn new(coding: ContentCoding) -> Self {
        let (codec, name) = match coding {
            ContentCoding::Identity => (Codec::Identity, "identity"),
            ContentCoding::Gzip => (Codec::Gzip(Gzip::default()), "gzip"),
            ContentCoding::Deflate => (Codec::Deflate(Deflate::Unknown), "deflate"),
            ContentCoding::Brotli => {
                let alloc = brotli_decompressor::StandardAlloc::default;
                (Codec::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()))), "br")
            }
            ContentCoding::Zstd => (zstd_codec(), "zstd"),
        };
        Self { codec, name, state: Progress::Untouched, out: Vec::new() }
    }

    /// Decodes at most `most` bytes. Nothing: the input is used up.
    pub(super) fn decode(&mut self, input: &mut Bytes, most: usize) -> Result<Bytes, DecodeError> {
        if matches!(self.codec, Codec::Identity) {
            return Ok(input.split_to(input.len().min(most)));
        }
        self.out.resize(most, 0);
        loop {
            let step = self.step(input)?;
            input.advance(step.read);
            self.state = match (step.ended, self.state) {
                (true, _) => Progress::Ended,
                (false, _) if step.read > 0 => Progress::Within,
                (false, state) => state,
            };
            if step.written > 0 {
                return Ok(Bytes::copy_from_slice(self.out.get(..step.written).unwrap_or_default()));
            }
            if step.read == 0 && !step.ended {
                return Ok(Bytes::new());
            }
            if input.is_empty() && self.state == Progress::Ended {
                return Ok(Bytes::new());
            }
        }
    }

    /// So many bytes at most it may have read without telling what they stand for, where it tells no more: a symbol that
    /// is not whole, or a block of RFC 8878.
    pub(super) const fn untold(&self) -> u64 {
        match self.codec {
            Codec::Identity => 0,
            Codec::Gzip(_) | Codec::Deflate(_) | Codec::Brotli(_) | Codec::Broken => 64,
            Codec::Zstd(_) => (128 << 10) + 64,
        }
    }

    /// After the last byte: whether the content was whole. No content at all is (HEAD, 304).
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.state == Progress::Within { Err(DecodeError::Truncated(self.name)) } else { Ok(()) }
    }

    fn step(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        let ended = self.state == Progress::Ended;
        if ended && input.is_empty() {
            return Ok(Step::default());
        }
        let damaged = DecodeError::Damaged(self.name);
        let out = self.out.as_mut_slice();
        let step = match &mut self.codec {
            Codec::Identity | Codec::Broken => None,
            Codec::Gzip(gzip) => gzip.step(input, out),
            Codec::Zstd(decoder) => zstd_step(decoder, input, out),
            Codec::Deflate(_) | Codec::Brotli(_) if ended => None,
            Codec::Deflate(decoder) => deflate_step(decoder, input, out),
            Codec::Brotli(state) => brotli_step(state, input, out),
        };
        step.ok_or(damaged)
    }
}

fn zstd_codec() -> Codec {
    let decoder = zstd::stream::raw::Decoder::new().and_then(|mut decoder| {
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(decoder)
    });
    decoder.map_or(Codec::Broken, Codec::Zstd)
}

fn deflate_step(state: &mut Deflate, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let (first, second, had) = match (&mut *state, input) {
        (Deflate::Known(decoder), input) => return inflate(decoder, input, out),
        (_, []) => return Some(Step::default()),
        (Deflate::Unknown, [first]) => {
            *state = Deflate::First(*first);
            return Some(Step { read: 1, ..Step::default() });
        }
        (Deflate::Unknown, [first, second, ..]) => (*first, *second, false),
        (Deflate::First(first), [second, ..]) => (*first, *second, true),
    };
    let zlib = first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0;
    let mut decoder = Decompress::new(zlib);
    if had {
        // One byte never decodes to anything yet.
        inflate(&mut decoder, &[first], out)?;
    }
    let step = inflate(&mut decoder, input, out);
    *state = Deflate::Known(decoder);
    step
}

/// One step of inflate; also gzip's.
pub(super) fn inflate(decoder: &mut Decompress, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let (read, written) = (decoder.total_in(), decoder.total_out());
    let status = decoder.decompress(input, out, FlushDecompress::None).ok()?;
    let since = |now: u64, then: u64| usize::try_from(now - then).ok();
    Some(Step {
        read: since(decoder.total_in(), read)?,
        written: since(decoder.total_out(), written)?,
        ended: status == Status::StreamEnd,
    })
}

fn brotli_step(state: &mut BrotliState, input: &[u8], out: &mut [u8]) -> Option<Step> {
    use brotli_decompressor::{BrotliDecompressStream, BrotliResult};
    let (mut available_in, mut read) = (input.len(), 0);
    let (mut available_out, mut written, mut total) = (out.len(), 0, 0);
    let result = BrotliDecompressStream(
        &mut available_in,
        &mut read,
        input,
        &mut available_out,
        &mut written,
        out,
        &mut total,
        state,
    );
    match result {
        BrotliResult::ResultSuccess => Some(Step { read, written, ended: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
            Some(Step { read, written, ended: false })
        }
        BrotliResult::ResultFailure => None,
    }
}

fn zstd_step(decoder: &mut impl Operation, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let mut from = InBuffer::around(input);
    let mut to = OutBuffer::around(out);
    let hint = decoder.run(&mut from, &mut to).ok()?;
    let (read, written) = (from.pos(), to.pos());
    Some(Step { read, written, ended: hint == 0 && (read > 0 || written > 0) })
}
