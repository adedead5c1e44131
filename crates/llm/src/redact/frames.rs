//! Amazon's event streams, searched frame by frame.
//!
//! A frame says its length and has a checksum, so that nothing can be taken out of it: one that holds a value ends the
//! response, and so does one that is broken. Texts that are told in pieces, a frame each, are followed as those of
//! server-sent events are: each frame's payload is told to [`Events`] as such an event, and the frame passes when that
//! comes out as it went in.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{
    events::{Events, Unfollowable},
    find::Finder,
};
use crate::eventstream::{Frames, Unframed};

/// A frame that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpassable {
    /// It cannot be read.
    #[error(transparent)]
    Unframed(#[from] Unframed),
    /// It cannot be followed.
    #[error(transparent)]
    Events(#[from] Unfollowable),
    /// It holds a value.
    #[error("the response holds a credential, in a frame of an event stream, out of which none can be taken")]
    Holds,
}

/// Lets the frames of one stream pass.
pub(super) struct Passing {
    finder: Arc<Finder>,
    frames: Frames,
    /// Follows texts; none after the end.
    events: Option<Events>,
    /// What was told to it of frames that have not passed yet, and the frames.
    waiting: VecDeque<(Vec<u8>, Bytes)>,
    /// What came out of it of these.
    came: Vec<u8>,
}

impl Passing {
    pub(super) fn new(finder: Arc<Finder>) -> Self {
        let events = Some(Events::new(finder.clone()));
        Self { finder, frames: Frames::default(), events, waiting: VecDeque::new(), came: Vec::new() }
    }

    /// Takes the next bytes and gives the frames that pass by now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Bytes, Unpassable> {
        self.frames.push(bytes);
        let mut out = Vec::new();
        while let Some(frame) = self.frames.next()? {
            let told = frame.told();
            if !self.finder.find(frame.bytes()).is_empty() || !self.finder.find(&told).is_empty() {
                return Err(Unpassable::Holds);
            }
            let line = |byte: u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
            let event: Vec<u8> = b"data: ".iter().copied().chain(told.into_iter().map(line)).collect();
            let event = [&event, &b"\n\n"[..]].concat();
            let came = self.events.as_mut().map(|events| events.push(&event)).transpose()?;
            self.waiting.push_back((event, frame.bytes().clone()));
            self.let_pass(&came.unwrap_or_default(), &mut out)?;
        }
        Ok(out.into())
    }

    /// Whether frames are held that more of them, or none for a while, would let go.
    pub(super) fn waits(&self) -> bool {
        self.events.as_ref().is_some_and(Events::waits)
    }

    /// Nothing came for that while.
    pub(super) fn quiet(&mut self) -> Result<Bytes, Unpassable> {
        let mut out = Vec::new();
        let came = self.events.as_mut().map(Events::quiet).unwrap_or_default();
        self.let_pass(&came, &mut out)?;
        Ok(out.into())
    }

    /// The stream has ended: what is left.
    pub(super) fn finish(&mut self) -> Result<Bytes, Unpassable> {
        self.frames.finish()?;
        let mut out = Vec::new();
        let came = self.events.take().map(Events::finish).transpose()?.unwrap_or_default();
        self.let_pass(&came, &mut out)?;
        if self.waiting.is_empty() { Ok(out.into()) } else { Err(Unpassable::Holds) }
    }

    fn let_pass(&mut self, came: &[u8], out: &mut Vec<u8>) -> Result<(), Unpassable> {
        self.came.extend_from_slice(came);
        while let Some((event, frame)) = self.waiting.front() {
            let (told, rest) = event.split_at(event.len().min(self.came.len()));
            if !self.came.starts_with(told) {
                return Err(Unpassable::Holds);
            }
            if !rest.is_empty() {
                break;
            }
            out.extend_from_slice(frame);
            self.came.drain(..event.len());
            self.waiting.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chiton_secret::SecretValue;
    use chiton_testkit::frames::{chunk, frame};
    use proptest::prelude::*;

    use crate::redact::{ContentCoding, Redactor, ScrubError, Scrubber, Unpassable};

    const KEY: &str = "sk-backend-5f9a1c77e2b04d0c";

    fn scrubber() -> Scrubber {
        let redactor = Redactor::new(&[SecretValue::new(KEY.into())]).unwrap();
        let kind = Some("application/vnd.amazon.eventstream");
        redactor.scrubber(ContentCoding::Identity).of_content_type(kind)
    }

    /// What passes of a stream in pieces of this length, and how it ended.
    fn run(stream: &[u8], piece: usize) -> (Vec<u8>, Result<(), ScrubError>) {
        let (mut scrubber, mut out) = (scrubber(), Vec::new());
        let mut pieces = stream.chunks(piece);
        loop {
            match scrubber.next() {
                Ok(Some(bytes)) => out.extend_from_slice(&bytes),
                Ok(None) => match pieces.next() {
                    Some(piece) => scrubber.feed(bytes::Bytes::copy_from_slice(piece)),
                    None if out.len() == stream.len() => return (out, Ok(())),
                    None => break,
                },
                Err(error) => return (out, Err(error)),
            }
        }
        scrubber.end();
        loop {
            match scrubber.next() {
                Ok(Some(bytes)) => out.extend_from_slice(&bytes),
                Ok(None) => return (out, Ok(())),
                Err(error) => return (out, Err(error)),
            }
        }
    }

    fn said(text: &str) -> Vec<u8> {
        let delta = serde_json::json!({ "contentBlockIndex": 0, "delta": { "text": text }, "p": "abc" });
        frame("contentBlockDelta", delta.to_string().as_bytes())
    }

    fn said_in_base64(text: &str) -> Vec<u8> {
        chunk(&serde_json::json!({ "index": 0, "delta": { "text": text } }).to_string())
    }

    #[test]
    fn clean_frames_pass_as_they_came() {
        for say in [said, said_in_base64] {
            let stream =
                [say("Hello, "), say("s"), say("k-"), say("world"), frame("metadata", b"{}")].concat();
            for piece in [1, 5, 64, stream.len()] {
                assert_eq!(run(&stream, piece), (stream.clone(), Ok(())), "{piece}");
            }
        }
    }

    #[test]
    fn no_frame_with_a_credential_passes() {
        let held = Err(ScrubError::Frame(Unpassable::Holds));
        for say in [said, said_in_base64] {
            for piece in [1, 64, 4096] {
                let stream = [say("Hello"), say(&format!("I see {KEY}.")), say("bye")].concat();
                let (out, ended) = run(&stream, piece);
                assert_eq!(ended, held);
                assert!(stream.starts_with(&out) && out.len() <= say("Hello").len());
            }
        }
        // In a header, and where no event is told.
        assert_eq!(run(&frame(KEY, b"{}"), 64).1, held);
        assert_eq!(run(&frame("x", KEY.as_bytes()), 64).1, held);
    }

    #[test]
    fn no_text_that_is_told_in_frames_holds_one() {
        for say in [said, said_in_base64] {
            for size in [1, 3, 9] {
                let mut stream = say("I see ");
                for part in KEY.as_bytes().chunks(size) {
                    stream.extend(say(std::str::from_utf8(part).unwrap()));
                }
                stream.extend(say(", and more."));
                for piece in [1, 64, 4096] {
                    let (out, ended) = run(&stream, piece);
                    assert_eq!(ended, Err(ScrubError::Frame(Unpassable::Holds)), "{size}");
                    // As many frames as may hold eight bytes of it.
                    assert!(out.len() <= say("I see ").len() + (8 / size + 1) * say("abcdefghi").len());
                }
            }
        }
    }

    #[test]
    fn what_is_no_frame_does_not_pass() {
        let (out, ended) = run(b"HTTP is not a frame at all, nor is this", 7);
        assert!(out.is_empty() && ended.is_err());
        let cut = [said("a"), said("b")[..20].to_vec()].concat();
        let (out, ended) = run(&cut, 7);
        assert!(out == said("a") && ended.is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_nothing_is_added(
            texts in prop::collection::vec("[a-z\\\\\"\n -]{0,12}", 0..8), at in any::<prop::sample::Index>(),
            broken in any::<bool>(), piece in 1_usize..80,
        ) {
            let mut stream: Vec<u8> = texts.iter().flat_map(|text| said(text)).collect();
            let whole = stream.clone();
            if broken && !stream.is_empty() {
                let at = at.index(stream.len());
                stream[at] ^= 1;
            }
            let (out, ended) = run(&stream, piece);
            prop_assert!(whole.starts_with(&out));
            prop_assert_eq!(ended.is_ok(), whole == stream);
        }
    }
}
