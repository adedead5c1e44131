//! What looks like a secret, and how it is shown.

use std::{borrow::Cow, ops::Range};

/// How keys of well-known services begin, and whether what follows must hold a digit to be told from a word.
const PREFIXES: [(&str, bool); 20] = [
    ("sk-", true),
    ("sk_", true),
    ("pk_live", true),
    ("rk_live", true),
    ("ghp_", false),
    ("gho_", false),
    ("ghu_", false),
    ("ghs_", false),
    ("ghr_", false),
    ("github_pat_", false),
    ("glpat-", false),
    ("xoxb-", false),
    ("xoxp-", false),
    ("xapp-", false),
    ("AKIA", true),
    ("ASIA", true),
    ("AIza", true),
    ("npm_", true),
    ("hf_", true),
    ("hvs.", true),
];

/// Whether a text looks like a credential itself, and not like the name of one.
pub(crate) fn looks_like_a_secret(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("Basic ")).unwrap_or(text);
    if text.contains("-----BEGIN") {
        return true;
    }
    let body = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
    if text.len() < 12 || !text.chars().all(body) {
        return false;
    }
    let jwt = text.starts_with("eyJ") && text.matches('.').count() == 2;
    jwt || is_random(text)
        || PREFIXES.iter().any(|(prefix, digit)| {
            text.strip_prefix(prefix).is_some_and(|body| {
                body.len() >= 8
                    && !body.contains(['.', '/'])
                    && (!digit || body.len() >= 20 || body.bytes().any(|b| b.is_ascii_digit()))
            })
        })
}

/// Long, in one piece, and of mixed characters: no word, path or host reads like this.
fn is_random(text: &str) -> bool {
    let piece = text.trim_end_matches('=');
    if piece.len() < 32 || piece.contains(['.', '/']) && !looks_like_base64(piece) {
        return false;
    }
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let upper = piece.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = piece.bytes().filter(u8::is_ascii_lowercase).count();
    let hex = piece.bytes().all(|b| b.is_ascii_hexdigit());
    let mixed = upper >= 3 && lower >= 3 && (digits >= 2 || (digits == 1 && piece.len() == 40));
    (hex && digits >= 4) || mixed
}

fn looks_like_base64(text: &str) -> bool {
    !text.contains(['.', '-', '_']) && !text.starts_with('/') && text.matches('/').count() * 16 <= text.len()
}

/// A text of the document as a message may show it.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let one_line = || text.escape_debug().to_string();
    if looks_like_a_secret(text) {
        return Cow::Owned(format!("{}…", text.chars().take(4).collect::<String>().escape_debug()));
    }
    if text.chars().count() > 80 {
        return Cow::Owned(format!("{}…", text.chars().take(80).collect::<String>().escape_debug()));
    }
    if text.chars().any(char::is_control) { Cow::Owned(one_line()) } else { Cow::Borrowed(text) }
}

/// The source as it may be shown: of what looks like a secret, and of `hidden`, everything after the first
/// four characters is covered. Places stay where they are.
pub(super) fn covered(source: &str, hidden: &[Range<usize>]) -> String {
    let mut cover: Vec<Range<usize>> = hidden.to_vec();
    let mut start = 0;
    let boundary = |c: char| c.is_whitespace() || "\"'`,[]{}()<>#&|;:@".contains(c);
    for (at, separator) in source.match_indices(boundary) {
        cover.extend(source.get(start..at).filter(|word| looks_like_a_secret(word)).map(|_| start..at));
        start = at + separator.len();
    }
    cover.extend(source.get(start..).filter(|word| looks_like_a_secret(word)).map(|_| start..source.len()));
    cover.sort_by_key(|range| (range.start, range.end));
    let mut shown = String::with_capacity(source.len());
    let mut done = 0;
    for range in cover {
        let after_four = source.get(range.start..range.end).and_then(|text| text.char_indices().nth(4));
        let Some(start) = after_four.map(|(at, _)| range.start + at) else { continue };
        // What an earlier range covered stays covered.
        let start = start.max(done);
        shown.push_str(source.get(done..start).unwrap_or_default());
        for c in source.get(start..range.end).unwrap_or_default().chars() {
            let dots = if c.is_control() { 0 } else { c.len_utf8() };
            shown.extend(std::iter::repeat_n('*', dots));
            shown.extend(Some(c).filter(|c| c.is_control()));
        }
        done = done.max(range.end);
    }
    shown.push_str(source.get(done..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use super::{covered, looks_like_a_secret, shown};

    #[test]
    fn keys_and_names() {
        for text in [
            "sk-live-0123456789abcdef",
            "ghp_abcdefghijklmnopqrst",
            "AKIAIOSFODNN7EXAMPLE",
            "Bearer sk-proj-abcdefgh1234",
            "0123456789abcdef0123456789abcdef",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY0",
            "-----BEGIN PRIVATE KEY-----",
        ] {
            assert!(looks_like_a_secret(text), "{text}");
        }
        for text in [
            "/workspace/some/long/path/to/a/file/v2/Readme.md",
            "us-central1-aiplatform.googleapis.com",
            "local://openai",
            "registry.npmjs.org",
            "copy_file_range",
            "npm_config_cache",
            "sk-learn.example.org",
            "this-is-a-very-long-label-for-a-rule-in-a-policy",
        ] {
            assert!(!looks_like_a_secret(text), "{text}");
        }
    }

    #[test]
    fn four_characters_at_most() {
        assert_eq!(shown("sk-live-0123456789abcdef"), "sk-l…");
        let text = "a: sk-live-0123456789abcdef # c";
        assert_eq!(covered(text, &[]), "a: sk-l******************** # c");
        assert_eq!(covered("key: hunter22", std::slice::from_ref(&(5..13))), "key: hunt****");
    }
}
