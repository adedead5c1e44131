//! How much of a text is held back where it goes on later.
//!
//! A caller sees how long the pieces are that come out, and may have chosen what they hold. So what is held depends on
//! the text, on what the values are made of as a whole ([`Shape`]) and on how long they are, and never on whether the
//! text begins like one: else it could be found out a byte at a time.

use super::needle::Needle;

/// The longest way to write one byte: `\u00XX`.
const LONGEST_ESCAPE: usize = 6;
/// How many line breaks (`\r`, `\n`) may stand between two characters of base64.
pub(super) const BREAKS: usize = 2;
/// A line of base64 that goes on in the next has so many characters before its end. Shorter ones are text.
const WRAPPED: usize = 32;
/// So many bytes of a value at most may pass when it is told in pieces.
const MOST_UNHELD: usize = 8;

/// What all the values are made of: so much of them shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Letters, digits and `-._~+/=:`, as nearly every key: any other byte ends what is held.
    Token,
    /// Anything but line breaks: only these end it.
    Line,
    /// Anything.
    Any,
}

/// What is held of texts that may go on.
pub(super) struct Hold {
    shape: Shape,
    /// The longest that a value as it is, however escaped, can be.
    plain: usize,
    /// The longest that any form can be.
    longest: usize,
    /// The same for texts that are told in pieces.
    joined: usize,
    /// From how many bytes on the end of a text told in pieces is held.
    least: usize,
}

impl Hold {
    /// For these needles; none where there are none.
    pub(super) fn new(needles: &[Needle]) -> Option<Self> {
        let verbatim = || needles.iter().filter(|needle| needle.base64.is_none()).map(|needle| &needle.bytes);
        let of_all = |known: fn(u8) -> bool| verbatim().all(|bytes| bytes.iter().copied().all(known));
        let shape = if of_all(is_token) {
            Shape::Token
        } else if of_all(|byte| !is_break(byte)) {
            Shape::Line
        } else {
            Shape::Any
        };
        let most = needles.iter().map(|needle| needle.bytes.len()).max()?;
        let shortest = verbatim().map(|bytes| bytes.len()).min()?;
        Some(Self {
            shape,
            plain: verbatim().map(|bytes| bytes.len()).max()? * LONGEST_ESCAPE,
            longest: (most * (1 + BREAKS) + 1) * LONGEST_ESCAPE,
            joined: (most + 1) * (LONGEST_ESCAPE - 1),
            least: (shortest / 4).clamp(1, MOST_UNHELD),
        })
    }

    /// From where on a text is held until more of it comes.
    pub(super) fn from(&self, text: &[u8]) -> usize {
        self.within(text, self.longest)
    }

    /// The same for a text that is told in pieces.
    pub(super) fn joined_from(&self, text: &[u8]) -> usize {
        self.within(text, self.joined)
    }

    /// From how many bytes on what is held of a text told in pieces has to wait.
    pub(super) const fn least(&self) -> usize {
        self.least
    }

    fn within(&self, text: &[u8], most: usize) -> usize {
        let bound = text.len().saturating_sub(most);
        match self.shape {
            Shape::Any => bound,
            Shape::Token => coded_from(text, bound),
            Shape::Line => {
                let bound_of_plain = text.len().saturating_sub(self.plain).max(bound);
                let line = run_from(text, bound_of_plain, |byte| !is_break(byte));
                coded_from(text, bound).min(line)
            }
        }
    }
}

/// Where the run of what a coded value is made of begins, with which a text ends: back over line ends, where the
/// line before is base64 that was wrapped.
fn coded_from(text: &[u8], bound: usize) -> usize {
    let mut from = run_from(text, bound, is_token);
    while let Some(end) = line_before(text.get(..from).unwrap_or_default()) {
        let before = run_from(text.get(..end).unwrap_or_default(), bound, is_token);
        if end.saturating_sub(before) < WRAPPED {
            break;
        }
        from = before;
    }
    from
}

/// Where the line before ends, of a text that ends with its one line break.
fn line_before(text: &[u8]) -> Option<usize> {
    match text {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n' | b'\r'] => Some(line.len()),
        _ => None,
    }
}

fn run_from(text: &[u8], bound: usize, known: impl Fn(u8) -> bool) -> usize {
    let tail = text.get(bound..).unwrap_or_default();
    tail.iter().rposition(|byte| !known(*byte)).map_or(bound.min(text.len()), |at| bound + at + 1)
}

/// Letters, digits, the other characters of a token, of base64, and those that begin an escape.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b':' | b'%' | b'\\')
}

const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
