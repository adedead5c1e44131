//! The readings of a path that a deny is held against.
//!
//! A deny reads the other way: what a server might make of the path counts, not only what it says. So each
//! reading is decoded and in lower case, without its trailing slash; beside it stand the path with encoded
//! slashes as slashes, with the parameters after `;` dropped, and decoded once more, dot segments resolved.

use super::Ambiguity;
use crate::patterns::loose_segment;

/// The path with encoded slashes read as slashes, where there are any. That reading must itself be one that
/// no two servers read differently.
pub(crate) fn split_reading(path: &str) -> Result<Option<String>, Ambiguity> {
    if !path.contains("%2F") {
        return Ok(None);
    }
    let split = path.replace("%2F", "/");
    let inner = split.strip_prefix('/').unwrap_or(&split);
    let count = inner.split('/').count();
    for (index, segment) in inner.split('/').enumerate() {
        let name = segment.split(';').next().unwrap_or_default().split("%3B").next().unwrap_or_default();
        let last = index + 1 == count;
        match name {
            "." | ".." => return Err(Ambiguity::EncodedSlash),
            "" if !(last && segment.is_empty()) => return Err(Ambiguity::EncodedSlash),
            _ => {}
        }
    }
    Ok(Some(split))
}

/// Every reading, without repetitions: at least one, in practice nearly always exactly one.
pub(super) fn readings(path: &str, split: Option<&str>) -> Vec<Vec<u8>> {
    let mut all = Vec::with_capacity(1);
    for path in std::iter::once(path).chain(split) {
        let inner = path.strip_prefix('/').unwrap_or(path);
        push(inner.as_bytes(), &mut all);
    }
    all
}

fn push(path: &[u8], all: &mut Vec<Vec<u8>>) {
    let plain = loose(path);
    let mut readings = Vec::with_capacity(1);
    if path.windows(3).any(|three| three == b"%25") {
        // Decoded twice: some servers sit behind another that decodes.
        readings.push(loose(&plain));
        let slashes = plain.split(|byte| *byte == b'/').map(|segment| replace(segment, b"%2f", b"/"));
        readings.push(loose(&slashes.collect::<Vec<_>>().join(&b'/')));
    }
    readings.push(plain);
    for reading in readings {
        let bare = reading.contains(&b';').then(|| {
            let segments = reading.split(|byte| *byte == b'/');
            let bare = segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
            bare.collect::<Vec<_>>().join(&b'/')
        });
        for reading in bare.into_iter().chain([reading]) {
            if let Some(resolved) = resolved(&reading) {
                push_once(resolved, all);
            }
            push_once(reading, all);
        }
    }
}

/// Without dot segments, where there are any: only what was decoded twice has them.
fn resolved(reading: &[u8]) -> Option<Vec<u8>> {
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    if !reading.split(|byte| *byte == b'/').any(is_dots) {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in reading.split(|byte| *byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    Some(kept.join(&b'/'))
}

fn push_once(reading: Vec<u8>, all: &mut Vec<Vec<u8>>) {
    if !all.contains(&reading) {
        all.push(reading);
    }
}

fn loose(path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if !path.iter().any(|byte| *byte == b'%' || byte.is_ascii_uppercase()) {
        return path.to_vec();
    }
    path.split(|byte| *byte == b'/').map(loose_segment).collect::<Vec<_>>().join(&b'/')
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, more)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) => {
                out.extend_from_slice(to);
                rest = after;
            }
            None => {
                out.push(*byte);
                rest = more;
            }
        }
    }
    out
}
