//! A body, cleaned as it flows.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    decode::{ContentCoding, DecodeError, Decoder},
    events::{Events, Unfollowable},
    find::{self, Finder},
};
use crate::usage::is_event_stream;

/// One piece of decoded text is at most this long, however well the content was compressed.
const PIECE: usize = 32 * 1024;

/// Whether a body of this type is of messages that tell their lengths.
fn is_of_messages(content_type: &str) -> bool {
    let kind = content_type.to_ascii_lowercase();
    ["application/grpc", "application/connect+", "application/proto", "application/x-protobuf"]
        .iter()
        .any(|begin| kind.starts_with(begin))
}

/// Cleans one body. Give it what arrives with [`Scrubber::feed`], then take with [`Scrubber::next`] until it
/// has no more; after the last byte call [`Scrubber::end`] and take the rest. What comes out is not encoded:
/// `content-encoding` and `content-length` no longer hold.
pub struct Scrubber {
    finder: Option<Arc<Finder>>,
    decoder: Decoder,
    input: Bytes,
    /// Decoded, and perhaps the beginning of a value.
    held: Vec<u8>,
    /// Of an event stream: follows texts from event to event.
    events: Option<Box<Events>>,
    /// Its messages say how long they are.
    keeps_length: bool,
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
            keeps_length: false,
            ended: false,
        }
    }

    /// For a body of this type, to be said before any of it comes: an event stream's texts are followed from
    /// event to event, and it comes out by whole lines; in messages of gRPC and Connect, which say how long they and
    /// their parts are, a marker is as long as what it stands for.
    #[must_use]
    pub fn of_content_type(mut self, content_type: Option<&str>) -> Self {
        let finder = self.finder.clone().filter(|_| content_type.is_some_and(is_event_stream));
        self.events = finder.map(|finder| Box::new(Events::new(finder)));
        self.keeps_length = content_type.is_some_and(is_of_messages);
        self
    }

    /// Takes the next bytes of the body. What was fed before should have been taken by then; if not, both wait.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            let mut both = BytesMut::from(&*self.input);
            both.extend_from_slice(&bytes);
            self.input = both.freeze();
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next clean piece, of bounded length; none until more is fed, or at all after the end.
    ///
    /// # Errors
    /// When the content is not what its encoding says, ends in the middle of it, or has events that cannot be
    /// followed. The body must be cut.
    #[expect(clippy::should_implement_trait, reason = "it can go on after none, and fail")]
    pub fn next(&mut self) -> Result<Option<Bytes>, ScrubError> {
        loop {
            let piece = self.decoder.decode(&mut self.input, PIECE)?;
            let last = piece.is_empty() && self.ended;
            if last {
                self.decoder.finish()?;
            }
            if piece.is_empty() && (!last || (self.held.is_empty() && self.events.is_none())) {
                return Ok(None);
            }
            let clean = self.clean(piece, last);
            let clean = self.follow(clean, last)?;
            if !clean.is_empty() {
                return Ok(Some(clean));
            }
        }
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

    fn clean(&mut self, piece: Bytes, last: bool) -> Bytes {
        let Some(finder) = &self.finder else { return piece };
        let text = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            Bytes::from(std::mem::take(&mut self.held))
        };
        let found = finder.find(&text);
        let until = if last { text.len() } else { finder.held_from(&text, &found) };
        self.held.extend_from_slice(text.get(until..).unwrap_or_default());
        let text = text.slice(..until);
        if found.is_empty() { text } else { Bytes::from(find::replace(&text, &found, self.keeps_length)) }
    }
}
