//! In which charset a text comes. One in which ASCII is not written as ASCII cannot be searched.

use http::{HeaderMap, header::CONTENT_TYPE};

/// A charset that is no superset of ASCII, or none that is known to be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent text in the charset `{0}`, which cannot be searched for credentials")]
pub struct UnknownCharset(String);

/// A text begins as one does in another charset than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response is text in {0}, which cannot be searched for credentials")]
pub struct Unsearchable(&'static str);

/// Charsets in which every byte of ASCII is that character wherever it stands alone, by name.
const SUPERSETS: [&str; 24] = [
    "utf-8",
    "utf8",
    "unicode-1-1-utf-8",
    "us-ascii",
    "ascii",
    "ansi_x3.4-1968",
    "latin1",
    "latin-1",
    "l1",
    "gbk",
    "gb2312",
    "gb18030",
    "big5",
    "big5-hkscs",
    "shift_jis",
    "shift-jis",
    "sjis",
    "windows-31j",
    "tis-620",
    "macintosh",
    "x-mac-cyrillic",
    "binary",
    "utf8mb4",
    "x-user-defined",
];
/// The same by how their names begin; a number follows.
const FAMILIES: [&str; 9] =
    ["iso-8859-", "iso8859-", "iso_8859-", "windows-125", "windows-874", "cp125", "x-cp125", "koi8-", "euc-"];
/// How a name may be longer than the family's.
const NUMBER: usize = 6;

/// Refuses headers that say another charset.
///
/// # Errors
/// When one is not known to be a superset of ASCII.
pub fn check_charset(headers: &HeaderMap) -> Result<(), UnknownCharset> {
    for kind in headers.get_all(CONTENT_TYPE) {
        let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
        for (at, _) in kind.match_indices("charset") {
            let rest = kind.get(at + "charset".len()..).unwrap_or_default().trim_start();
            let Some(named) = rest.strip_prefix('=') else { continue };
            let named = named.trim_start().trim_start_matches(['"', '\'']);
            let named = named.split([';', ',', '"', '\'', ' ', '\t']).next().unwrap_or_default();
            if !is_superset(named) {
                return Err(UnknownCharset(named.chars().take(40).collect()));
            }
        }
    }
    Ok(())
}

fn is_superset(name: &str) -> bool {
    let of_family = |family: &&str| name.strip_prefix(*family).is_some_and(|number| number.len() <= NUMBER);
    name.is_empty() || SUPERSETS.contains(&name) || FAMILIES.iter().any(of_family)
}

/// How many bytes of a text tell.
const TELLING: usize = 4;

/// Reads the first bytes of a text.
#[derive(Debug, Default)]
pub(super) struct Beginning(Vec<u8>);

impl Beginning {
    /// For a body of this type, where it is text, or may be for all that it says.
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        let kind = content_type.unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_text = kind.is_empty()
            || kind.starts_with("text/")
            || ["json", "xml", "javascript", "ecmascript", "yaml", "x-www-form-urlencoded"]
                .iter()
                .any(|text| kind.ends_with(text));
        is_text.then(Self::default)
    }

    /// Takes the next bytes. Whether it has seen enough.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<bool, Unsearchable> {
        self.0.extend(bytes.iter().take(TELLING - self.0.len()));
        match self.0.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(Unsearchable("UTF-16")),
            [0, ..] | [_, 0, ..] => Err(Unsearchable("UTF-16 or UTF-32")),
            [b'+', b'/', b'v', b'8' | b'9' | b'+' | b'/'] => Err(Unsearchable("UTF-7")),
            // `<?xm`
            [0x4c, 0x6f, 0xa7, 0x94] => Err(Unsearchable("EBCDIC")),
            seen => Ok(seen.len() == TELLING),
        }
    }
}
