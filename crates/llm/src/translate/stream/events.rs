//! Parts an event stream into events, however it is cut.

use crate::translate::LONGEST_ANSWER;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The data of an event, its lines joined.
    Data(&'a [u8]),
    /// A comment: the server is still there.
    Comment,
    /// An event that is too long to be held. What follows is not told.
    TooLong,
}

/// Takes a stream in pieces. What a line is called beside `data` does not matter: both APIs say it in the data as well.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// A line ended with CR: an LF after it is of the same end.
    after_cr: bool,
    over: bool,
}

impl Events {
    pub(super) fn push(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Event<'_>)) {
        while !self.over && !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + self.data.len() + text.len() > LONGEST_ANSWER {
                self.over = true;
                found(Event::TooLong);
                return;
            }
            self.line.extend_from_slice(text);
            if let Some((end, rest)) = rest.split_first() {
                self.after_cr = *end == b'\r';
                self.line_ended(found);
                bytes = rest;
            } else {
                bytes = rest;
            }
        }
    }

    fn line_ended(&mut self, found: &mut impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                found(Event::Data(&self.data));
            }
            self.data.clear();
        } else if line.starts_with(b":") {
            found(Event::Comment);
        } else if let Some(data) = line.strip_prefix(b"data") {
            let Some(data) = data.strip_prefix(b":").or_else(|| data.is_empty().then_some(data)) else {
                return;
            };
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
    }
}
