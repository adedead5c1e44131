//! The forms of one value that are searched for.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

/// A sequence of bytes that stands for a value, each of which may come escaped.
pub(super) struct Needle {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Base64: line breaks may stand between its characters, and its edges hold bits of the value.
    pub(super) base64: Option<Edges>,
}

/// Whether the characters just before and after hold bits of the value too.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) before: bool,
    pub(super) after: bool,
}

/// Adds the value itself, and for each of the three places in a group of three bytes where base64 may meet its
/// first byte, the characters that depend on nothing but the value, in both alphabets.
pub(super) fn add_forms(needles: &mut Vec<Needle>, value: &[u8]) {
    push(needles, value.to_vec(), None);
    for ahead in 0..3 {
        let mut padded = Zeroizing::new(vec![0; ahead]);
        padded.extend_from_slice(value);
        let first_bit = 8 * ahead;
        let first = first_bit.div_ceil(6);
        let last = 8 * padded.len() / 6;
        let edges = Edges { before: first_bit % 6 != 0, after: 8 * padded.len() % 6 != 0 };
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(engine.encode(&*padded));
            let stable = text.as_bytes().get(first..last).unwrap_or_default();
            push(needles, stable.to_vec(), Some(edges));
        }
    }
}

fn push(needles: &mut Vec<Needle>, bytes: Vec<u8>, base64: Option<Edges>) {
    let bytes = Zeroizing::new(bytes);
    if !bytes.is_empty() && needles.iter().all(|known| *known.bytes != *bytes) {
        needles.push(Needle { bytes, base64 });
    }
}
