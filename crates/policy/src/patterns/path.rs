//! Patterns over the path of a request.
//!
//! `*` within a segment is zero or more characters; a segment that is `*`, `:name` or `{name}` is exactly one
//! non-empty segment; `**` is zero or more segments. A trailing slash is an empty last segment.
//!
//! A pattern is read twice: strictly, as an allow compares it with the canonical path, and loosely, as a deny
//! compares it with every reading of the path that a server might have.

use std::{fmt, sync::Arc};

use super::text::{Meeting, Stars, common_word};
use crate::{
    canonical::{check_segment, split_reading},
    percent::{self, PercentError},
};

/// A pattern over canonical request paths.
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: Arc<str>,
    strict: Arc<[Segment]>,
    loose: Arc<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Exactly one non-empty segment.
    One,
    /// Zero or more segments.
    Any,
    /// One segment with these pieces around its stars.
    Text(Stars),
}

/// Why a text is no path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It does not begin at the root.
    #[error("a path pattern begins with `/`")]
    NoSlash,
    /// A query or fragment is no part of a path.
    #[error("a path pattern has no `?` or `#`: the query has its own field, `query`")]
    QueryInside,
    /// `//`
    #[error("an empty segment matches no request")]
    EmptySegment,
    /// `.` or `..`
    #[error("`.` and `..` are resolved before a path is compared, so this matches no request")]
    DotSegment,
    /// `**` beside other characters.
    #[error("`**` must be a whole segment, as `/files/**`")]
    PartialDoubleStar,
    /// A placeholder that is not a whole segment, or has no name.
    #[error("a placeholder is a whole segment, as `/:name` or `/{{name}}`")]
    BadPlaceholder,
    /// A backslash, a control character, or a parameter that stands alone.
    #[error("no request is accepted that has this in its path")]
    NeverAccepted,
    /// `%` without two hexadecimal digits.
    #[error("`%` needs two hexadecimal digits after it")]
    BadPercent,
}

impl From<PercentError> for PathPatternError {
    fn from(error: PercentError) -> Self {
        match error {
            PercentError::Bad => Self::BadPercent,
            PercentError::Control | PercentError::Space => Self::NeverAccepted,
        }
    }
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it could never match a request.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let inner = text.strip_prefix('/').ok_or(PathPatternError::NoSlash)?;
        if inner.contains(['?', '#']) {
            return Err(PathPatternError::QueryInside);
        }
        let count = inner.split('/').count();
        let mut strict = Vec::with_capacity(count);
        let mut loose = Vec::with_capacity(count);
        for (index, segment) in inner.split('/').enumerate() {
            if segment.is_empty() && index + 1 < count {
                return Err(PathPatternError::EmptySegment);
            }
            let (one, other) = read_segment(segment)?;
            strict.push(one);
            loose.push(other);
        }
        if inner.is_empty() || inner.ends_with('/') {
            loose.pop();
        }
        Ok(Self { text: text.into(), strict: strict.into(), loose: loose.into() })
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether an allow with this pattern matches a canonical path.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix('/').is_some_and(|inner| match_segments(&self.strict, Some(inner.as_bytes())))
    }

    /// Whether a deny with this pattern matches a loose reading: lower case, decoded, no leading or trailing
    /// slash.
    pub(crate) fn matches_loosely(&self, reading: &[u8]) -> bool {
        match_segments(&self.loose, Some(reading).filter(|reading| !reading.is_empty()))
    }

    /// Whether some path matches both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.strict, &other.strict);
        common_word(one.len(), two.len(), |i, j| match (one.get(i), two.get(j)) {
            (Some(Segment::Any), _) => Meeting::OneSwallows,
            (_, Some(Segment::Any)) => Meeting::TwoSwallows,
            (Some(a), Some(b)) if a.overlaps(b) => Meeting::Together,
            (Some(_), Some(_)) | (None, _) | (_, None) => Meeting::Apart,
        })
    }

    /// The first segment in canonical form, where it is literal: what every path that matches begins with.
    pub(crate) fn first_literal(&self) -> Option<&str> {
        match self.strict.first() {
            Some(Segment::Text(stars)) => stars.literal().and_then(|text| std::str::from_utf8(text).ok()),
            Some(Segment::One | Segment::Any) | None => None,
        }
    }

    /// Whether it is `/…/*` with one star at the end, which many take for the whole subtree.
    #[must_use]
    pub fn ends_in_one_segment(&self) -> bool {
        self.text.ends_with("/*") && self.strict.len() > 1
    }

    /// Whether an encoded slash stands in it, which only a rule with `encoded_slash` can match.
    #[must_use]
    pub fn has_encoded_slash(&self) -> bool {
        self.text.to_ascii_lowercase().contains("%2f")
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn matches(&self, segment: &[u8]) -> bool {
        match self {
            Segment::One => !segment.is_empty(),
            Segment::Any => false,
            Segment::Text(stars) => stars.matches(segment),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Segment::Any, _) | (_, Segment::Any) | (Segment::One, Segment::One) => true,
            (Segment::One, Segment::Text(stars)) | (Segment::Text(stars), Segment::One) => {
                stars.literal().is_none_or(|literal| !literal.is_empty())
            }
            (Segment::Text(a), Segment::Text(b)) => a.overlaps(b),
        }
    }
}

/// One segment of a pattern, strictly and loosely.
fn read_segment(segment: &str) -> Result<(Segment, Segment), PathPatternError> {
    let both = |segment: Segment| Ok((segment.clone(), segment));
    match segment {
        "*" => return both(Segment::One),
        "**" => return both(Segment::Any),
        "." | ".." => return Err(PathPatternError::DotSegment),
        _ if segment.contains("**") => return Err(PathPatternError::PartialDoubleStar),
        _ => {}
    }
    let braced = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = braced.or_else(|| segment.strip_prefix(':')) {
        return if is_placeholder(name) { both(Segment::One) } else { Err(PathPatternError::BadPlaceholder) };
    }
    if segment.contains(['{', '}']) {
        return Err(PathPatternError::BadPlaceholder);
    }
    let mut strict: Vec<Box<[u8]>> = Vec::new();
    let mut loose: Vec<Box<[u8]>> = Vec::new();
    for piece in segment.split('*') {
        let mut canonical = String::new();
        percent::canonicalise(piece.as_bytes(), percent::in_segment, &mut canonical)?;
        if canonical.contains("%5C") {
            return Err(PathPatternError::NeverAccepted);
        }
        loose.push(loose_segment(canonical.as_bytes()).into());
        strict.push(canonical.into_bytes().into());
    }
    if let [only] = strict.as_slice() {
        let only = std::str::from_utf8(only).unwrap_or_default();
        if matches!(only.split(';').next(), Some("." | "..")) {
            return Err(PathPatternError::DotSegment);
        }
        let read = check_segment(only).and_then(|()| split_reading(&format!("/x/{only}")));
        read.map_err(|_| PathPatternError::NeverAccepted)?;
    }
    Ok((Segment::Text(Stars::new(strict, 0)), Segment::Text(Stars::new(loose, 0))))
}

fn is_placeholder(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A segment as a deny sees it: decoded, in lower case; an encoded slash stays `%2f` and so in its segment.
pub(crate) fn loose_segment(canonical: &[u8]) -> Vec<u8> {
    if !canonical.contains(&b'%') && !canonical.iter().any(u8::is_ascii_uppercase) {
        return canonical.to_vec();
    }
    let decoded = percent::decode(canonical);
    let mut loose = Vec::with_capacity(decoded.len());
    for chunk in decoded.utf8_chunks() {
        loose.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        loose.extend_from_slice(chunk.invalid());
    }
    if loose.contains(&b'/') {
        loose = loose.split(|byte| *byte == b'/').collect::<Vec<_>>().join(&b"%2f"[..]);
    }
    loose
}

/// Segment by segment; `path` is what follows the first slash, none when there is no segment at all. Only
/// the last `**` is ever tried again: what an earlier one could take, it can take too.
fn match_segments(pattern: &[Segment], path: Option<&[u8]>) -> bool {
    let (mut at, mut path) = (0, path);
    let mut retry: Option<(usize, Option<&[u8]>)> = None;
    while let Some(rest) = path {
        let (segment, next) = split_segment(rest);
        match pattern.get(at) {
            Some(Segment::Any) => {
                at += 1;
                retry = Some((at, path));
            }
            Some(one) if one.matches(segment) => {
                at += 1;
                path = next;
            }
            Some(_) | None => {
                let Some((after_any, from)) = retry else { return false };
                path = from.and_then(|rest| split_segment(rest).1);
                at = after_any;
                retry = Some((after_any, path));
            }
        }
    }
    pattern.iter().skip(at).all(|segment| matches!(segment, Segment::Any))
}

fn split_segment(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPattern, PathPatternError};

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn segments() {
        for (pattern, path, expected) in [
            ("/repos/*", "/repos/x", true),
            ("/repos/*", "/repos/x/y", false),
            ("/repos/*", "/repos/", false),
            ("/repos/*", "/repos", false),
            ("/repos/:owner/{name}", "/repos/o/n", true),
            ("/v*/models", "/v1beta/models", true),
            ("/v*/models", "/v/models", true),
            ("/files/**", "/files", true),
            ("/files/**", "/files/", true),
            ("/files/**", "/files/a/b/c", true),
            ("/**", "/", true),
            ("/", "/", true),
            ("/exact", "/exact/", false),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/z/z", true),
            ("/a/**/z/", "/a/b/z", false),
            ("/**/b/**/d", "/a/b/c/b/d", true),
            ("/**/b/*/d", "/b/x/b/y/d", true),
            ("/caf%c3%a9", "/caf%C3%A9", true),
            ("/café", "/caf%C3%A9", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_deny_reads_loosely() {
        let deny = PathPattern::parse("/Admin/caf%C3%89/").unwrap();
        assert!(deny.matches_loosely("admin/café".as_bytes()));
        assert!(PathPattern::parse("/").unwrap().matches_loosely(b""));
        assert!(PathPattern::parse("/**").unwrap().matches_loosely(b""));
        assert!(PathPattern::parse("/a!b").unwrap().matches_loosely(&super::loose_segment(b"A%21b")));
    }

    #[test]
    fn impossible_patterns() {
        for (text, error) in [
            ("repos", PathPatternError::NoSlash),
            ("/a?b=1", PathPatternError::QueryInside),
            ("/a//b", PathPatternError::EmptySegment),
            ("/a/../b", PathPatternError::DotSegment),
            ("/%2e%2e/b", PathPatternError::DotSegment),
            ("/a**", PathPatternError::PartialDoubleStar),
            ("/:", PathPatternError::BadPlaceholder),
            ("/{a}b", PathPatternError::BadPlaceholder),
            ("/a\\b", PathPatternError::NeverAccepted),
            ("/a%zz", PathPatternError::BadPercent),
            ("/a/%ff", PathPatternError::NeverAccepted),
            ("/a/%c2%80", PathPatternError::NeverAccepted),
            ("/a/%3Bx", PathPatternError::NeverAccepted),
            ("/a%2F..%2Fb", PathPatternError::NeverAccepted),
            ("/a/%2Fb", PathPatternError::NeverAccepted),
        ] {
            assert_eq!(PathPattern::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn overlap() {
        let overlap =
            |a: &str, b: &str| PathPattern::parse(a).unwrap().overlaps(&PathPattern::parse(b).unwrap());
        assert!(overlap("/a/*", "/*/b"));
        assert!(overlap("/a/**", "/**/b"));
        assert!(!overlap("/a/*", "/b/*"));
        assert!(!overlap("/a/*", "/a/"));
        assert!(overlap("/a/**", "/a/"));
        assert!(overlap("/x*", "/*y"));
        assert!(!overlap("/x*", "/:id/y"));
    }
}
