//! Takes injected values out of what comes back.
//!
//! A [`Redactor`] knows the values of a revision. It cleans header values at once and bodies as streams, by a
//! [`Scrubber`] that undoes the content's encoding, finds each value verbatim, percent-encoded and
//! JSON-escaped (any mix, either case, `+` for a space), in base64 and base64url at any alignment and across line
//! breaks. What it holds back of a text that goes on never depends on the values ([`hold`]). Of event streams, the
//! texts that are told in pieces are followed as well. Out of the frames of Amazon's event streams, and out of a body that
//! keeps a coding of its own, nothing can be taken: one with a value is cut before it. Other forms (hexadecimal, reversed,
//! split by other bytes) are not found.

mod charset;
mod coded;
mod decode;
mod events;
mod find;
mod frames;
mod gzip;
mod hold;
mod messages;
mod needle;
mod scrub;

use std::{fmt, sync::Arc};

use chiton_secret::SecretValue;
use http::HeaderValue;

pub use charset::{UnknownCharset, Unsearchable, check_charset};
pub use coded::{Textless, Unchangeable};
pub use decode::{ACCEPT_ENCODING, ContentCoding, DecodeError, UnknownCoding};
pub use events::{QUIET, Unfollowable};
pub use frames::Unpassable;
pub use messages::Compressed;
pub use scrub::{ScrubError, Scrubber, may_keep_coding};

use find::Finder;

/// What stands where a value was.
pub const MARKER: &str = "[redacted]";

/// A value shorter than this cannot be told from ordinary text, so that it is never injected.
pub const SHORTEST: usize = 8;

/// Why a value cannot be kept out of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unredactable {
    /// Too short to be told from ordinary text.
    #[error(
        "the credential has {0} bytes: one shorter than 8 cannot be removed from responses; use a longer one"
    )]
    TooShort(usize),
    /// The search could not be built.
    #[error("the credentials are too long or too many to be removed from responses")]
    TooLarge,
}

/// The values to take out. Cheap to clone.
#[derive(Clone)]
pub struct Redactor(Option<Arc<Finder>>);

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// For no value: everything passes.
    pub const NONE: Redactor = Redactor(None);

    /// For these values.
    ///
    /// # Errors
    /// When one is too short or too long to be found for certain.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Result<Self, Unredactable> {
        let mut needles = Vec::new();
        for value in values {
            // Blanks at the ends of a field's value are not of it: a server may never have seen them.
            let value = value.dangerous_expose().trim_ascii();
            if value.len() < SHORTEST {
                return Err(Unredactable::TooShort(value.len()));
            }
            needle::add_forms(&mut needles, value);
        }
        if needles.is_empty() {
            return Ok(Self::NONE);
        }
        let finder = Finder::new(needles).ok_or(Unredactable::TooLarge)?;
        Ok(Self(Some(Arc::new(finder))))
    }

    /// Whether there is nothing to take out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A body's scrubber. Where [`Redactor::is_empty`], the body may as well pass as it is.
    #[must_use]
    pub fn scrubber(&self, coding: ContentCoding) -> Scrubber {
        Scrubber::new(self.0.clone(), coding)
    }

    /// The scrubber of a body that keeps this coding ([`may_keep_coding`]): what comes out is what went in, and a value in
    /// it is an error. `Identity` is for a part of such a body, whose text nobody can tell.
    #[must_use]
    pub fn scrubber_of_coded(&self, coding: ContentCoding, content_type: Option<&str>) -> Scrubber {
        match &self.0 {
            Some(finder) => Scrubber::of_coded(finder.clone(), coding, content_type),
            None => self.scrubber(ContentCoding::Identity),
        }
    }

    /// Cleans bytes that are whole: nothing follows them.
    #[must_use]
    pub fn scrub(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = self.0.as_ref()?.find(bytes);
        (!found.is_empty()).then(|| find::replace(bytes, &found, false))
    }

    /// Cleans a header's value; none when it may stay as it is.
    #[must_use]
    pub fn scrub_header_value(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let clean = self.scrub(value.as_bytes())?;
        Some(HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(MARKER)))
    }

    /// Cleans every header's value, in place; how many were touched.
    pub fn scrub_headers(&self, headers: &mut http::HeaderMap) -> usize {
        let mut touched = 0;
        for value in headers.values_mut() {
            if let Some(clean) = self.scrub_header_value(value) {
                *value = clean;
                touched += 1;
            }
        }
        touched
    }
}

#[cfg(test)]
mod tests;
