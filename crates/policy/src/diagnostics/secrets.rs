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

/// Whether a text is a credential, or holds one: a URL with a password, a header's format, an assignment.
pub(crate) fn looks_like_a_secret(text: &str) -> bool {
    !secrets(text).is_empty()
}

/// Where something in a text looks like a credential itself, and not like the name of one; in order, apart.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if text.contains("-----BEGIN") {
        found.push(0..text.len());
        return found;
    }
    for (at, word) in words(text, 0, BOUNDARIES) {
        if is_secret(word) {
            found.push(at..at + word.len());
        } else {
            // What is random may have slashes; a key has none.
            let keys = words(word, at, "/").filter(|(_, part)| is_key(part));
            found.extend(keys.map(|(at, part)| at..at + part.len()));
        }
    }
    found
}

/// What ends a word, whatever it is.
const BOUNDARIES: &str = "\"'`,[]{}()<>#&|;:@=?";

/// The pieces of a text between these characters and white space, and where they begin.
fn words<'a>(text: &'a str, offset: usize, boundaries: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_boundary = move |c: char| c.is_whitespace() || boundaries.contains(c);
    let mut start = 0;
    text.split(is_boundary).map(move |word| {
        let at = start;
        let after = text.get(at + word.len()..).and_then(|rest| rest.chars().next());
        start = at + word.len() + after.map_or(0, char::len_utf8);
        (offset + at, word)
    })
}

fn is_secret(word: &str) -> bool {
    let body = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
    word.len() >= 12 && word.chars().all(body) && (is_random(word) || is_key(word))
}

/// Whether it begins like a key of a well-known service, or is a JSON web token.
fn is_key(word: &str) -> bool {
    let jwt = word.starts_with("eyJ") && word.matches('.').count() == 2;
    word.len() >= 12
        && (jwt
            || PREFIXES.iter().any(|(prefix, digit)| {
                word.strip_prefix(prefix).is_some_and(|body| {
                    body.len() >= 8
                        && !body.contains(['.', '/'])
                        && (!digit || body.len() >= 20 || body.bytes().any(|b| b.is_ascii_digit()))
                })
            }))
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
    let mut safe = Cow::Borrowed(text);
    for range in secrets(text).into_iter().rev() {
        let first: String = text.get(range.clone()).unwrap_or_default().chars().take(4).collect();
        safe.to_mut().replace_range(range, &format!("{first}…"));
    }
    if safe.chars().count() > 80 {
        return Cow::Owned(format!("{}…", safe.chars().take(80).collect::<String>().escape_debug()));
    }
    if safe.chars().any(char::is_control) { Cow::Owned(safe.escape_debug().to_string()) } else { safe }
}

/// The source as it may be shown: of what looks like a secret, and of `hidden`, everything after the first
/// four characters is covered. Places stay where they are.
pub(super) fn covered(source: &str, hidden: &[Range<usize>]) -> String {
    let mut cover: Vec<Range<usize>> = hidden.to_vec();
    cover.extend(secrets(source));
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
        for (text, safe) in [
            ("GITHUB_TOKEN=ghp_abcdefghijklmnopqrst0123", "GITHUB_TOKEN=ghp_…"),
            ("KEY=abcdef0123456789abcdef0123456789", "KEY=abcd…"),
            ("postgres://u:ghp_abcdefghijklmnopqrst0123@h.test/db", "postgres://u:ghp_…@h.test/db"),
            ("https://u:sk-proj-abcd1234efgh5678@llm.corp", "https://u:sk-p…@llm.corp"),
            ("Token ghp_abcdefghijklmnopqrst0123 {}", "Token ghp_… {}"),
            ("/x?key=AIzaSyA1234567890abcdefghijklmnopqrs", "/x?key=AIza…"),
            ("/hooks/xoxb-1234567890-abcdef/x", "/hooks/xoxb…/x"),
        ] {
            assert!(looks_like_a_secret(text), "{text}");
            assert_eq!(shown(text), safe);
            let covered = covered(text, &[]);
            assert_eq!(covered.len(), text.len());
            assert!(!covered.contains("abcde"), "{covered}");
        }
        for text in ["/repos/x/commit/0123456789abcdef0123456789abcdef01234567", "a=b&c=d", "sha256=x", ""] {
            assert!(!looks_like_a_secret(text), "{text}");
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("sk-live-0123456789abcdef"), "sk-l…");
        let text = "a: sk-live-0123456789abcdef # c";
        assert_eq!(covered(text, &[]), "a: sk-l******************** # c");
        assert_eq!(covered("key: hunter22", std::slice::from_ref(&(5..13))), "key: hunt****");
    }
}
