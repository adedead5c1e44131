//! A body that passes in its own coding, while what it says is searched.
//!
//! An object may be stored in a coding that nobody asked for. Its checksums are of these bytes, so nothing can be taken
//! out: one that holds a value ends the response. A byte passes when nothing is held of what it may say: neither of the
//! bytes themselves, since the frames of a coding have room for comments, nor of the text that it stands for.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    charset::Beginning,
    decode::Decoder,
    find::Finder,
    scrub::{PIECE, ScrubError, joined},
};

/// It holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response holds a credential, in a content encoding of its own, out of which none can be taken")]
pub struct Unchangeable;

/// More waits than any coding needs: it is made of what stands for no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response's content encoding goes on without telling what it stands for")]
pub struct Textless;

/// So much may wait: some blocks of zstd, each of 128 KiB.
const WAITING: usize = 1 << 20;

/// So many are remembered at most; the latest then moves on, so that more waits.
const MARKS: usize = 256;

/// Lets the bytes of one body pass.
pub(super) struct Coded {
    finder: Arc<Finder>,
    decoder: Decoder,
    /// Of the text: whether it can be searched.
    beginning: Option<Beginning>,
    /// Not looked at.
    fed: Bytes,
    /// Searched themselves, and not decoded.
    input: Bytes,
    bytes: Search,
    text: Search,
    marks: VecDeque<Mark>,
    /// The text of so many bytes was searched.
    searched: u64,
    waiting: BytesMut,
    passed: u64,
}

/// How much text the decoder had told when it had read so many bytes.
struct Mark {
    read: u64,
    text: u64,
}

/// A search of what comes in pieces.
#[derive(Default)]
struct Search {
    /// Perhaps the beginning of a value: how much, says nothing of the values.
    held: Vec<u8>,
    done: u64,
}

impl Search {
    fn read(&mut self, finder: &Finder, piece: &[u8]) -> Result<(), Unchangeable> {
        self.held.extend_from_slice(piece);
        if !finder.find(&self.held).is_empty() {
            return Err(Unchangeable);
        }
        let until = finder.hold().from(&self.held);
        self.held.drain(..until);
        self.done += until as u64;
        Ok(())
    }

    fn came(&self) -> u64 {
        self.done + self.held.len() as u64
    }
}

impl Coded {
    pub(super) fn new(finder: Arc<Finder>, decoder: Decoder, beginning: Option<Beginning>) -> Self {
        Self {
            finder,
            decoder,
            beginning,
            fed: Bytes::new(),
            input: Bytes::new(),
            bytes: Search::default(),
            text: Search::default(),
            marks: VecDeque::new(),
            searched: 0,
            waiting: BytesMut::new(),
            passed: 0,
        }
    }

    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.fed = joined(std::mem::take(&mut self.fed), bytes);
    }

    /// What passes by now; of no length where there is more to search, none where nothing is left to do. A little may
    /// stand for very much, so that one call searches one piece of text.
    pub(super) fn next(&mut self, ended: bool) -> Result<Option<Bytes>, ScrubError> {
        loop {
            let text = self.decoder.decode(&mut self.input, PIECE)?;
            if !text.is_empty() {
                self.read_text(&text)?;
                return Ok(Some(self.pass(false)));
            }
            self.mark();
            let fed = std::mem::take(&mut self.fed);
            if fed.is_empty() {
                break;
            }
            self.bytes.read(&self.finder, &fed)?;
            self.waiting.extend_from_slice(&fed);
            if self.waiting.len() > WAITING {
                return Err(Textless.into());
            }
            self.input = joined(std::mem::take(&mut self.input), fed);
        }
        if ended {
            self.decoder.finish()?;
        }
        let passed = self.pass(ended);
        Ok((!passed.is_empty()).then_some(passed))
    }

    fn read_text(&mut self, text: &[u8]) -> Result<(), ScrubError> {
        if let Some(beginning) = &mut self.beginning
            && beginning.read(text)?
        {
            self.beginning = None;
        }
        Ok(self.text.read(&self.finder, text)?)
    }

    /// The decoder has told all that it can of what it has read.
    fn mark(&mut self) {
        if !self.input.is_empty() {
            return;
        }
        let mark = Mark { read: self.bytes.came(), text: self.text.came() };
        let is_full = self.marks.len() == MARKS;
        match self.marks.back_mut() {
            Some(last) if is_full || last.read == mark.read => *last = mark,
            Some(_) | None => self.marks.push_back(mark),
        }
    }

    fn pass(&mut self, all: bool) -> Bytes {
        while let Some(mark) = self.marks.front().filter(|mark| mark.text <= self.text.done) {
            self.searched = mark.read;
            self.marks.pop_front();
        }
        let told = self.searched.saturating_sub(self.decoder.untold());
        let until = if all { self.bytes.came() } else { told.min(self.bytes.done) };
        let length = usize::try_from(until.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let passed = self.waiting.split_to(length.min(self.waiting.len()));
        self.passed += passed.len() as u64;
        passed.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use chiton_secret::SecretValue;
    use flate2::{Compression, GzBuilder};

    use crate::redact::{ContentCoding, Redactor, ScrubError, Textless, Unchangeable};

    /// Longer than what the decoder may not have told.
    const KEY: &str = "sk-backend-5f9a1c77e2b04d0c-9b1d6e0f3a5c7e92-0d4f8b6a2c1e3957-f1e2d3c4b5a69788-1029384756afbecd-7c6b5a49";
    /// What no token has, so that nothing before it is held.
    const END: &str = " and so on\n";

    /// What passes of a body in pieces of this length, and how it ended.
    fn run(coding: ContentCoding, body: &[u8], piece: usize) -> (Vec<u8>, Result<(), ScrubError>) {
        let redactor = Redactor::new(&[SecretValue::new(KEY.into())]).unwrap();
        let mut scrubber = redactor.scrubber_of_coded(coding, Some("text/plain"));
        let (mut out, mut pieces) = (Vec::new(), body.chunks(piece));
        let mut ended = false;
        loop {
            match scrubber.next() {
                Ok(Some(bytes)) => out.extend_from_slice(&bytes),
                Ok(None) if ended => return (out, Ok(())),
                Ok(None) => match pieces.next() {
                    Some(piece) => scrubber.feed(Bytes::copy_from_slice(piece)),
                    None => {
                        scrubber.end();
                        ended = true;
                    }
                },
                Err(error) => return (out, Err(error)),
            }
        }
    }

    fn gzip(text: &str, comment: &str, level: u32) -> Vec<u8> {
        let builder = GzBuilder::new().comment(comment).filename("x");
        let mut encoder = builder.write(Vec::new(), Compression::new(level));
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &str, level: i32) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), level).unwrap()
    }

    /// As much of the text as these bytes, which may break off, tell.
    fn told(coding: ContentCoding, bytes: &[u8]) -> String {
        let mut scrubber = Redactor::NONE.scrubber(coding);
        scrubber.feed(Bytes::copy_from_slice(bytes));
        let mut told = Vec::new();
        while let Ok(Some(piece)) = scrubber.next() {
            told.extend_from_slice(&piece);
        }
        String::from_utf8_lossy(&told).into_owned()
    }

    /// Words that repeat little, so that a coding has something to say.
    fn words(count: u32) -> String {
        (0..count).map(|number| format!("{:x} ", number.wrapping_mul(0x9e37_79b9))).collect()
    }

    #[test]
    fn what_holds_nothing_passes_as_it_is() {
        let text = words(60_000) + END;
        let all = [
            (ContentCoding::Gzip, gzip(&text, "none", 6)),
            (ContentCoding::Gzip, gzip(&text, "none", 0)),
            (ContentCoding::Gzip, [gzip(&text, "", 6), gzip(END, "", 6)].concat()),
            (ContentCoding::Zstd, zstd(&text, 3)),
            (ContentCoding::Identity, text.clone().into_bytes()),
        ];
        for (coding, body) in all {
            for piece in [97, 4096, body.len()] {
                assert_eq!(run(coding, &body, piece), (body.clone(), Ok(())), "{coding:?} {piece}");
            }
        }
        assert_eq!(run(ContentCoding::Gzip, b"", 1), (Vec::new(), Ok(())));
    }

    #[test]
    fn of_a_value_nothing_passes() {
        let text = format!("{}{KEY}{}{END}", words(5000), words(50_000));
        let all = [
            (ContentCoding::Gzip, gzip(&text, "none", 6)),
            // Stored as it is.
            (ContentCoding::Gzip, gzip(&text, "none", 0)),
            (ContentCoding::Zstd, zstd(&text, 3)),
            (ContentCoding::Identity, text.clone().into_bytes()),
        ];
        for (coding, body) in all {
            for piece in [1, 97, 4096, body.len()] {
                let (passed, ended) = run(coding, &body, piece);
                assert_eq!(ended, Err(ScrubError::Coded(Unchangeable)), "{coding:?} {piece}");
                let told = told(coding, &passed);
                assert!(text.starts_with(&told) && !told.contains(&KEY[..1]), "{coding:?} {piece}: {told}");
                // Its first block has it, and nobody can tell how much of a block that is begun.
                assert!(coding != ContentCoding::Zstd || passed.is_empty(), "{piece}: {}", passed.len());
                assert!(!passed.windows(4).any(|bytes| bytes == &KEY.as_bytes()[..4]), "{coding:?} {piece}");
            }
        }
    }

    #[test]
    fn nor_of_one_in_a_comment() {
        let body = gzip(&words(10_000), KEY, 6);
        for piece in [1, 97, 4096, body.len()] {
            let (passed, ended) = run(ContentCoding::Gzip, &body, piece);
            assert_eq!(ended, Err(ScrubError::Coded(Unchangeable)), "{piece}");
            assert!(passed.len() <= 12, "{piece}: {passed:?}");
        }
    }

    #[test]
    fn what_is_damaged_or_breaks_off_ends() {
        let body = gzip(&words(1000), "", 6);
        assert!(matches!(
            run(ContentCoding::Gzip, &body[..body.len() - 9], 97).1,
            Err(ScrubError::Decode(_))
        ));
        let more = [&body[..], b"more"].concat();
        assert!(matches!(run(ContentCoding::Gzip, &more, 97).1, Err(ScrubError::Decode(_))));
    }

    /// What stands for no text comes behind a word that is not at its end.
    #[test]
    fn what_stands_for_nothing_does_not_wait_for_ever() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 4, 0, 0][..], &[0; 1024]].concat();
        let empty = gzip("", "", 6);
        for (coding, begin, more) in
            [(ContentCoding::Zstd, zstd("a", 3), skippable), (ContentCoding::Gzip, gzip("a", "", 6), empty)]
        {
            let body = [begin, more.repeat((2 << 20) / more.len())].concat();
            let (passed, ended) = run(coding, &body, 4096);
            assert_eq!(ended, Err(ScrubError::Textless(Textless)), "{coding:?}");
            assert!(passed.len() < 64, "{}", passed.len());
        }
    }

    #[test]
    fn a_little_that_stands_for_much_is_searched_by_pieces() {
        let redactor = Redactor::new(&[SecretValue::new(KEY.into())]).unwrap();
        let mut scrubber = redactor.scrubber_of_coded(ContentCoding::Gzip, None);
        scrubber.feed(gzip(&" ".repeat(4 << 20), "", 9).into());
        let mut calls = 0;
        while scrubber.next().unwrap().is_some() {
            calls += 1;
        }
        assert!(calls >= 4 << 20 >> 15, "{calls}");
    }
}
