//! An event stream, cut where it may be: after each line that belongs to no unfinished document.

use std::{collections::hash_map::RandomState, ops::Range};

use bytes::{Bytes, BytesMut};

use super::{
    Unfollowable,
    scan::{Found, Key, Scan},
};

/// The longest event.
const LONGEST: usize = 8 * 1024 * 1024;

/// Some lines, and the texts in them.
pub(super) struct Unit {
    pub(super) bytes: Bytes,
    pub(super) texts: Vec<Found>,
}

/// Splits a stream into units.
#[derive(Default)]
pub(super) struct Lines {
    hasher: RandomState,
    buffer: BytesMut,
    /// Where the current line begins.
    line: usize,
    /// How far its end was looked for.
    looked: usize,
    /// The line before ended with `\r`: a `\n` belongs to it.
    after_return: bool,
    document: Option<Document>,
}

/// A document that the lines of this unit tell, in part or whole.
struct Document {
    scan: Scan,
    lines: Vec<Range<usize>>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next unit that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Unit>, Unfollowable> {
        loop {
            if self.buffer.len() > LONGEST {
                return Err(Unfollowable::TooLong);
            }
            let Some(next) = self.buffer.get(self.line) else { return Ok(None) };
            if std::mem::take(&mut self.after_return) && *next == b'\n' {
                if let Some(unit) = self.line_to(self.line + 1, Vec::new()) {
                    return Ok(Some(unit));
                }
                continue;
            }
            let rest = self.buffer.get(self.looked..).unwrap_or_default();
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest).map(|at| self.looked + at) else {
                self.looked = self.buffer.len();
                return Ok(None);
            };
            self.after_return = self.buffer.get(end) == Some(&b'\r');
            let texts = self.read(self.line..end)?;
            if let Some(unit) = self.line_to(end + 1, texts) {
                return Ok(Some(unit));
            }
        }
    }

    /// What is left at the stream's end.
    pub(super) fn rest(&mut self) -> Result<Option<Unit>, Unfollowable> {
        let mut texts = self.read(self.line..self.buffer.len())?;
        texts.extend(self.close_document());
        let bytes = self.buffer.split().freeze();
        Ok((!bytes.is_empty()).then_some(Unit { bytes, texts }))
    }

    /// The current line ends here, and with it the unit, unless a document goes on.
    fn line_to(&mut self, end: usize, texts: Vec<Found>) -> Option<Unit> {
        (self.line, self.looked) = (end, end);
        if self.document.is_some() {
            return None;
        }
        (self.line, self.looked) = (0, 0);
        Some(Unit { bytes: self.buffer.split_to(end).freeze(), texts })
    }

    /// Reads a line: the texts that are whole with it.
    fn read(&mut self, line: Range<usize>) -> Result<Vec<Found>, Unfollowable> {
        let Some(value) = data(&self.buffer, &line) else {
            return Ok(if line.is_empty() { self.close_document() } else { Vec::new() });
        };
        let text = self.buffer.get(value.clone()).unwrap_or_default().trim_ascii_start();
        let document = match &mut self.document {
            Some(document) => document,
            None if matches!(text.first(), Some(b'{' | b'[' | b'"')) => {
                self.document.insert(Document { scan: Scan::new(&self.hasher), lines: Vec::new() })
            }
            None => return Ok(vec![plain(value)]),
        };
        document.scan.line(&self.buffer, value.clone())?;
        document.lines.push(value);
        if document.scan.is_whole() { Ok(self.close_document()) } else { Ok(Vec::new()) }
    }

    fn close_document(&mut self) -> Vec<Found> {
        let Some(Document { scan, lines }) = self.document.take() else { return Vec::new() };
        // Text that only begins like a document.
        let odd = if scan.is_whole() { Vec::new() } else { lines };
        scan.finish().into_iter().chain(odd.into_iter().map(plain)).collect()
    }
}

fn plain(range: Range<usize>) -> Found {
    Found { range, json: false, told: true, keys: [Some(Key::PLAIN), None] }
}

/// Where the value of a `data` line stands.
fn data(buffer: &[u8], line: &Range<usize>) -> Option<Range<usize>> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let text = buffer.get(line.clone())?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let value = text.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    Some(line.end - value.len()..line.end)
}
