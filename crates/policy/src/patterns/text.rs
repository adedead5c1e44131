//! Texts with stars, where `*` is any run of characters.
//!
//! The building block of every other pattern, and by itself the pattern of a query parameter or a model's
//! name. Bytes are compared; a caller that ignores case lowers both sides first.

use std::{fmt, sync::Arc};

/// A text in which `*` is any run of characters, also none.
#[derive(Clone, Debug)]
pub struct TextGlob {
    text: Arc<str>,
    stars: Stars,
}

/// Literal pieces with a star between each and the next: one piece is a literal, two empty ones are `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stars {
    pieces: Arc<[Box<[u8]>]>,
    /// How many bytes a star stands for at least.
    gap: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    Star,
}

impl TextGlob {
    /// Every text is a glob.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), stars: Stars::parse(text, 0) }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the glob matches the whole of these bytes.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.stars.matches(bytes)
    }

    /// Whether some text matches both globs.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.stars.overlaps(&other.stars)
    }
}

impl PartialEq for TextGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TextGlob {}

impl fmt::Display for TextGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Stars {
    /// Splits a text at its stars.
    pub(crate) fn parse(text: &str, gap: usize) -> Self {
        Self::new(text.split('*').map(|piece| piece.as_bytes().into()).collect(), gap)
    }

    /// From the literal pieces around the stars.
    pub(crate) fn new(pieces: Vec<Box<[u8]>>, gap: usize) -> Self {
        Self { pieces: pieces.into(), gap }
    }

    pub(crate) fn to_ascii_lowercase(&self) -> Self {
        let pieces = self.pieces.iter().map(|piece| piece.to_ascii_lowercase().into()).collect();
        Self { pieces, gap: self.gap }
    }

    /// The bytes, where there is no star.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whether the whole text matches. Each middle piece is taken where it comes first, which leaves the
    /// most for the rest, so nothing is ever tried twice.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some((first, more)) = self.pieces.split_first() else { return text.is_empty() };
        let Some(mut rest) = text.strip_prefix(&**first) else { return false };
        let Some((last, middle)) = more.split_last() else { return rest.is_empty() };
        for piece in middle {
            let Some(after_gap) = rest.get(self.gap..) else { return false };
            let Some(at) = find(after_gap, piece) else { return false };
            rest = after_gap.get(at + piece.len()..).unwrap_or_default();
        }
        rest.strip_suffix(&**last).is_some_and(|between| between.len() >= self.gap)
    }

    /// Whether some text matches both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self.literal(), other.literal()) {
            (Some(a), Some(b)) => a == b,
            (Some(a), None) => other.matches(a),
            (None, Some(b)) => self.matches(b),
            (None, None) => common_text(&self.tokens(), &other.tokens()),
        }
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                tokens.extend(std::iter::repeat_n(Token::AnyByte, self.gap));
                tokens.push(Token::Star);
            }
            tokens.extend(piece.iter().map(|byte| Token::Byte(*byte)));
        }
        tokens
    }
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    if piece.is_empty() { Some(0) } else { text.windows(piece.len()).position(|window| window == piece) }
}

fn common_text(one: &[Token], two: &[Token]) -> bool {
    common_word(one.len(), two.len(), |i, j| match (one.get(i), two.get(j)) {
        (Some(Token::Star), _) => Meeting::OneSwallows,
        (_, Some(Token::Star)) => Meeting::TwoSwallows,
        (Some(Token::Byte(a)), Some(Token::Byte(b))) if a != b => Meeting::Apart,
        (Some(_), Some(_)) => Meeting::Together,
        (None, _) | (_, None) => Meeting::Apart,
    })
}

/// How two pieces of two patterns stand to each other.
pub(crate) enum Meeting {
    /// The piece of the first pattern is a star: any run of pieces, also none.
    OneSwallows,
    /// The piece of the second pattern is.
    TwoSwallows,
    /// One thing can be both.
    Together,
    /// Nothing can be both.
    Apart,
}

/// Whether two sequences of pieces stand for one common word. `meet` is asked for indices, which may lie one
/// past the end of its sequence.
pub(crate) fn common_word(one: usize, two: usize, meet: impl Fn(usize, usize) -> Meeting) -> bool {
    let width = two + 1;
    let mut seen = vec![false; (one + 1) * width];
    let mut todo = vec![(0, 0)];
    while let Some((i, j)) = todo.pop() {
        if i == one && j == two {
            return true;
        }
        match seen.get_mut(i * width + j) {
            Some(seen) if !*seen => *seen = true,
            Some(_) | None => continue,
        }
        let both_end = (i < one, j < two);
        match meet(i, j) {
            Meeting::OneSwallows => {
                todo.push((i + 1, j));
                if both_end.1 {
                    todo.push((i, j + 1));
                }
            }
            Meeting::TwoSwallows => {
                todo.push((i, j + 1));
                if both_end.0 {
                    todo.push((i + 1, j));
                }
            }
            Meeting::Together => todo.push((i + 1, j + 1)),
            Meeting::Apart => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Stars, TextGlob};

    #[test]
    fn a_star_is_any_run() {
        for (glob, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "ab", false),
            ("*a*b", "xaxbxb", true),
            ("a*a", "a", false),
            ("a", "ab", false),
            ("**a", "bba", true),
        ] {
            assert_eq!(TextGlob::new(glob).matches(text.as_bytes()), expected, "{glob} {text}");
        }
        assert!(!Stars::parse("a*c", 1).matches(b"ac"));
        assert!(Stars::parse("*a*", 1).matches(b"aaa"));
        assert!(!Stars::parse("*a*", 1).matches(b"baa") || Stars::parse("*a*", 1).matches(b"xax"));
    }

    #[test]
    fn overlap_is_a_common_text() {
        for (one, two, expected) in [
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("abc", "a*c", true),
            ("abc", "abd", false),
            ("*", "", true),
            ("a", "", false),
            ("*a", "b*", true),
            ("a*b", "ab*", true),
        ] {
            let overlap = |a: &str, b: &str| TextGlob::new(a).overlaps(&TextGlob::new(b));
            assert_eq!(overlap(one, two), expected, "{one} {two}");
            assert_eq!(overlap(two, one), expected, "{two} {one}");
        }
        assert!(Stars::parse("a*", 1).overlaps(&Stars::parse("*b", 1)));
        assert!(
            !Stars::parse("ab*", 1).overlaps(&Stars::parse("*b", 1))
                || Stars::parse("ab*", 1).matches(b"abb")
        );
    }
}
