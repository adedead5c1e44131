//! A body, cleaned as it flows.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    charset::{Beginning, Unsearchable},
    coded::{Coded, Textless, Unchangeable},
    decode::{ContentCoding, DecodeError, Decoder},
    events::{Events, Unfollowable},
    find::{self, Finder},
    frames::{Passing, Unpassable},
    messages::{Compressed, Messages},
};
use crate::{eventstream, usage::is_event_stream};

/// One piece of decoded text is at most this long, however well the content was compressed.
pub(super) const PIECE: usize = 32 * 1024;

/// Whether a body of this type is of messages that tell their lengths.
fn is_of_messages(content_type: &str) -> bool {
    let kind = content_type.to_ascii_lowercase();
    ["application/grpc", "application/connect+", "application/proto", "application/x-protobuf"]
        .iter()
        .any(|begin| kind.starts_with(begin))
}

/// Whether a body of this type may keep a coding that is its own: no stream that is followed from one event or message to
/// the next.
#[must_use]
pub fn may_keep_coding(content_type: Option<&str>) -> bool {
    content_type
        .is_none_or(|kind| !is_event_stream(kind) && !eventstream::is_one(kind) && !is_of_messages(kind))
}

/// One after the other.
pub(super) fn joined(first: Bytes, then: Bytes) -> Bytes {
    if first.is_empty() {
        return then;
    }
    let mut both = BytesMut::from(&*first);
    both.extend_from_slice(&then);
    both.freeze()
}

/// Cleans one body. Give it what arrives with [`Scrubber::feed`], then take with [`Scrubber::next`] until it
/// has no more; after the last byte call [`Scrubber::end`] and take the rest. What comes out is not encoded:
/// `content-encoding` and `content-length` no longer hold.
pub struct Scrubber {
    finder: Option<Arc<Finder>>,
    decoder: Decoder,
    input: Bytes,
    /// Decoded, and perhaps the beginning of a value: how much, says nothing of the values.
    held: Vec<u8>,
    /// Of an event stream: follows texts from event to event.
    events: Option<Box<Events>>,
    /// Of Amazon's event streams: lets whole frames pass.
    frames: Option<Box<Passing>>,
    /// Of a body that keeps its coding: lets it pass as it is.
    coded: Option<Box<Coded>>,
    /// Its messages say how long they are.
    keeps_length: bool,
    /// Of such messages: where they end.
    messages: Option<Messages>,
    /// Of a text: whether it can be searched.
    beginning: Option<Beginning>,
    /// Nothing has come for a while.
    quiet: bool,
    ended: bool,
}

/// Why a body cannot be cleaned, and must be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrubError {
    /// It is not what its encoding says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its events cannot be followed.
    #[error(transparent)]
    Events(#[from] Unfollowable),
    /// One of its frames may not pass.
    #[error(transparent)]
    Frame(#[from] Unpassable),
    /// One of its messages cannot be read.
    #[error(transparent)]
    Message(#[from] Compressed),
    /// It is text in another charset than it says.
    #[error(transparent)]
    Charset(#[from] Unsearchable),
    /// It keeps its coding, and holds a value.
    #[error(transparent)]
    Coded(#[from] Unchangeable),
    /// It keeps its coding, which says nothing.
    #[error(transparent)]
    Textless(#[from] Textless),
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrubber").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Scrubber {
    pub(super) fn new(finder: Option<Arc<Finder>>, coding: ContentCoding) -> Self {
        let decoder = Decoder::new(coding);
        Self {
            finder,
            decoder,
            input: Bytes::new(),
            held: Vec::new(),
            events: None,
            frames: None,
            coded: None,
            keeps_length: false,
            messages: None,
            beginning: None,
            quiet: false,
            ended: false,
        }
    }

    /// For a body of this type that keeps its coding.
    pub(super) fn of_coded(finder: Arc<Finder>, coding: ContentCoding, content_type: Option<&str>) -> Self {
        // A part of a coded text is none.
        let beginning = Beginning::of(content_type).filter(|_| coding != ContentCoding::Identity);
        let coded = Coded::new(finder, Decoder::new(coding), beginning);
        Self { coded: Some(Box::new(coded)), ..Self::new(None, ContentCoding::Identity) }
    }

    /// For a body of this type, to be said before any of it comes: an event stream's texts are followed from
    /// event to event, and it comes out by whole lines; of Amazon's, whole frames come out, and one that holds a value is
    /// an error; in messages of gRPC and Connect, which say how long they and
    /// their parts are, a marker is as long as what it stands for, and nothing is held over a message's end; what begins
    /// as no text does in a charset that can be searched is an error.
    #[must_use]
    pub fn of_content_type(mut self, content_type: Option<&str>) -> Self {
        let Some(finder) = &self.finder else { return self };
        let events = content_type.is_some_and(is_event_stream).then(|| Events::new(finder.clone()));
        self.events = events.map(Box::new);
        let frames = content_type.is_some_and(eventstream::is_one).then(|| Passing::new(finder.clone()));
        self.frames = frames.map(Box::new);
        self.messages = content_type.and_then(Messages::of);
        self.keeps_length = content_type.is_some_and(is_of_messages);
        self.beginning = Beginning::of(content_type).filter(|_| !self.keeps_length);
        self
    }

    /// Takes the next bytes of the body. What was fed before should have been taken by then; if not, both wait.
    pub fn feed(&mut self, bytes: Bytes) {
        match &mut self.coded {
            Some(coded) => coded.feed(bytes),
            None => self.input = joined(std::mem::take(&mut self.input), bytes),
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether events are held that pass if nothing follows them within [`QUIET`](super::QUIET).
    #[must_use]
    pub fn waits(&self) -> bool {
        self.events.as_ref().is_some_and(|events| events.waits())
            || self.frames.as_ref().is_some_and(|frames| frames.waits())
    }

    /// Nothing has followed for that long: what [`Scrubber::waits`] tells of can be taken.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// The next clean piece, of bounded length; none until more is fed, or at all after the end. Of a body that keeps its
    /// coding it may be of no length: then there is more to search, and others may go first.
    ///
    /// # Errors
    /// When the content is not what its encoding says, ends in the middle of it, or has events that cannot be
    /// followed. The body must be cut.
    #[expect(clippy::should_implement_trait, reason = "it can go on after none, and fail")]
    pub fn next(&mut self) -> Result<Option<Bytes>, ScrubError> {
        if let Some(coded) = &mut self.coded {
            return coded.next(self.ended);
        }
        if std::mem::take(&mut self.quiet) {
            let passed = match (&mut self.events, &mut self.frames) {
                (Some(events), _) => events.quiet(),
                (None, Some(frames)) => frames.quiet()?,
                (None, None) => Bytes::new(),
            };
            if !passed.is_empty() {
                return Ok(Some(passed));
            }
        }
        loop {
            let piece = self.decoder.decode(&mut self.input, PIECE)?;
            let last = piece.is_empty() && self.ended;
            if last {
                self.decoder.finish()?;
            }
            if piece.is_empty()
                && (!last || (self.held.is_empty() && self.events.is_none() && self.frames.is_none()))
            {
                return Ok(None);
            }
            let clean = match self.frames.take() {
                Some(frames) => self.pass(frames, &piece, last)?,
                None => {
                    let clean = self.clean(piece, last)?;
                    self.follow(clean, last)?
                }
            };
            if !clean.is_empty() {
                return Ok(Some(clean));
            }
        }
    }

    /// Whole frames, as they are. After the last one there are no more.
    fn pass(&mut self, mut frames: Box<Passing>, piece: &[u8], last: bool) -> Result<Bytes, Unpassable> {
        if last {
            return frames.finish();
        }
        let passed = frames.push(piece)?;
        self.frames = Some(frames);
        Ok(passed)
    }

    fn follow(&mut self, clean: Bytes, last: bool) -> Result<Bytes, Unfollowable> {
        let Some(mut events) = self.events.take() else { return Ok(clean) };
        let passed = events.push(&clean)?;
        if !last {
            self.events = Some(events);
            return Ok(passed);
        }
        Ok([passed, events.finish()?].concat().into())
    }

    fn clean(&mut self, piece: Bytes, last: bool) -> Result<Bytes, ScrubError> {
        let Some(finder) = &self.finder else { return Ok(piece) };
        if let Some(beginning) = &mut self.beginning
            && beginning.read(&piece)?
        {
            self.beginning = None;
        }
        let end = self.messages.as_mut().map_or(Ok(None), |messages| messages.end_in(&piece))?;
        let before = self.held.len();
        let text = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            Bytes::from(std::mem::take(&mut self.held))
        };
        let found = finder.find(&text);
        let until = match (last, end) {
            (true, _) => text.len(),
            (false, Some(end)) => finder.hold().from(&text).max(before + end),
            (false, None) => finder.hold().from(&text),
        };
        // What is found is seen by its absence, so that a find may move the end. It is not parted.
        let across = found.iter().find(|range| range.start < until && until < range.end);
        let until = across.map_or(until, |range| range.end);
        self.held.extend_from_slice(text.get(until..).unwrap_or_default());
        let text = text.slice(..until);
        let within = found.partition_point(|range| range.end <= until);
        match found.get(..within).unwrap_or_default() {
            [] => Ok(text),
            found => Ok(Bytes::from(find::replace(&text, found, self.keeps_length))),
        }
    }
}
