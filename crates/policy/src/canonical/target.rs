//! The canonical path and query, and the readings of the path that a deny is held against.

use super::{Ambiguity, loose};
use crate::{
    names::Scheme,
    percent::{self, PercentError},
};

/// A canonical target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path and query as they are sent.
    text: String,
    /// Where the path ends in it.
    path_end: usize,
    /// The path with encoded slashes read as slashes, where there are any.
    split: Option<String>,
    /// What a deny is held against.
    loose: Vec<Vec<u8>>,
    /// Names and values, decoded, in order.
    parameters: Vec<Parameter>,
}

/// A query parameter's name and value, decoded.
pub(crate) type Parameter = (Vec<u8>, Vec<u8>);

impl From<PercentError> for Ambiguity {
    fn from(error: PercentError) -> Self {
        match error {
            PercentError::Bad => Ambiguity::BadPercent,
            PercentError::Control | PercentError::Space => Ambiguity::Control,
        }
    }
}

/// Takes an absolute form apart into its authority and the rest; a plain target has no authority.
pub(super) fn split_form(target: &[u8], scheme: Scheme) -> Result<(Option<&[u8]>, &[u8]), Ambiguity> {
    if target.first() == Some(&b'/') {
        return Ok((None, target));
    }
    let colon = target.iter().position(|byte| *byte == b':').ok_or(Ambiguity::TargetForm)?;
    let (named, rest) = target.split_at_checked(colon).ok_or(Ambiguity::TargetForm)?;
    let rest = rest.strip_prefix(b"://").ok_or(Ambiguity::TargetForm)?;
    if !named.eq_ignore_ascii_case(scheme.as_str().as_bytes()) {
        return Err(Ambiguity::TargetScheme);
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Ambiguity::TargetForm)?;
    Ok((Some(authority), path))
}

impl Target {
    /// Reads path and query; a fragment is no part of either and dropped.
    pub(super) fn read(raw: &[u8]) -> Result<Self, Ambiguity> {
        let raw = raw.split(|byte| *byte == b'#').next().unwrap_or_default();
        let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
            Some(at) => (raw.get(..at).unwrap_or_default(), raw.get(at + 1..).unwrap_or_default()),
            None => (raw, &b""[..]),
        };
        let mut text = canonical_path(path)?;
        let path_end = text.len();
        let split = loose::split_reading(&text)?;
        let loose = loose::readings(&text, split.as_deref());
        let mut parameters = Vec::new();
        if !query.is_empty() {
            text.push('?');
            percent::canonicalise(query, percent::in_query, &mut text)?;
            parameters = read_parameters(text.get(path_end + 1..).unwrap_or_default().as_bytes());
        }
        Ok(Self { text, path_end, split, loose, parameters })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn path(&self) -> &str {
        self.text.get(..self.path_end).unwrap_or_default()
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..)
    }

    /// The other reading of the path, where it has an encoded slash.
    pub(crate) fn split_path(&self) -> Option<&str> {
        self.split.as_deref()
    }

    pub(crate) fn loose(&self) -> &[Vec<u8>] {
        &self.loose
    }

    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

/// The path with unreserved characters decoded, other encodings in upper case and dot segments resolved.
fn canonical_path(raw: &[u8]) -> Result<String, Ambiguity> {
    let inner = match raw.split_first() {
        Some((b'/', inner)) => inner,
        None => &b""[..],
        Some((b'\\', _)) => return Err(Ambiguity::Backslash),
        Some(_) => return Err(Ambiguity::TargetForm),
    };
    if inner.contains(&b'\\') {
        return Err(Ambiguity::Backslash);
    }
    let mut text = String::with_capacity(raw.len() + 8);
    let mut ends = Vec::new();
    let count = inner.split(|byte| *byte == b'/').count();
    for (index, segment) in inner.split(|byte| *byte == b'/').enumerate() {
        let last = index + 1 == count;
        if segment.is_empty() && !last {
            return Err(Ambiguity::EmptySegment);
        }
        let start = text.len();
        text.push('/');
        percent::canonicalise(segment, percent::in_segment, &mut text)?;
        match text.get(start + 1..).unwrap_or_default() {
            dots @ ("." | "..") => {
                let parent = if dots == ".." { ends.pop().unwrap_or(0) } else { start };
                // Whoever decodes first takes back only what stands after that slash.
                if text.get(parent..start).is_some_and(|taken_back| taken_back.contains("%2F")) {
                    return Err(Ambiguity::EncodedSlash);
                }
                text.truncate(parent);
                if last {
                    text.push('/');
                }
            }
            canonical => {
                check_segment(canonical)?;
                ends.push(start);
            }
        }
    }
    Ok(text)
}

/// Refuses what servers read differently within one segment.
pub(crate) fn check_segment(canonical: &str) -> Result<(), Ambiguity> {
    let encoded = canonical.contains('%');
    if encoded && canonical.contains("%5C") {
        return Err(Ambiguity::Backslash);
    }
    if canonical.contains(';') || (encoded && canonical.contains("%3B")) {
        let before = canonical.split(';').next().unwrap_or_default();
        if matches!(before.split("%3B").next().unwrap_or_default(), "" | "." | "..") {
            return Err(Ambiguity::EmptyParameter);
        }
    }
    if encoded {
        let decoded = percent::decode(canonical.as_bytes());
        let text = std::str::from_utf8(&decoded).map_err(|_| Ambiguity::NotUtf8)?;
        if text.chars().any(char::is_control) {
            return Err(Ambiguity::Control);
        }
    }
    Ok(())
}

fn read_parameters(query: &[u8]) -> Vec<Parameter> {
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(read_parameter).collect()
}

/// `name=value`, decoded.
pub(crate) fn read_parameter(pair: &[u8]) -> Parameter {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let name = percent::decode(halves.next().unwrap_or_default());
    (name, percent::decode(halves.next().unwrap_or_default()))
}
