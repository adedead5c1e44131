//! Globs over files: `*` within a name, `**` for any folders between.

use std::{fmt, sync::Arc};

use super::text::{Meeting, Stars, common_word};

/// How many names a glob may have: with a home before them, one bit each in a word.
const MOST_NAMES: usize = 40;

/// A pattern over absolute paths of files. It covers what it matches and everything below that.
#[derive(Clone, Debug)]
pub struct FileGlob {
    text: Arc<str>,
    pieces: Arc<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Any folders, also none.
    Any,
    /// One name.
    Name(Stars),
}

/// Why a text is no file glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileGlobError {
    /// Neither absolute nor `**/…`.
    #[error("a file pattern is absolute, or begins with `**/`")]
    NotAbsolute,
    /// `.` or `..`
    #[error("a file pattern has no `.` or `..`")]
    DotSegment,
    /// `**` beside other characters.
    #[error("`**` must be a whole name, as `**/.env`")]
    PartialDoubleStar,
    /// Nothing but stars: every file.
    #[error("this would be every file")]
    Everything,
    /// A NUL or other control character.
    #[error("a file pattern has no control characters")]
    Control,
    /// More names than a path can have a use for.
    #[error("a file pattern has at most 40 names")]
    TooLong,
}

/// The places in a pattern that a path may have come to, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached(u64);

impl FileGlob {
    /// Reads a glob. `~/` must have been resolved, or it stays and only matches after
    /// [`FileGlob::with_home`].
    ///
    /// # Errors
    /// When it is not absolute, or would be every file.
    pub fn parse(text: &str) -> Result<Self, FileGlobError> {
        if text.chars().any(char::is_control) {
            return Err(FileGlobError::Control);
        }
        let inner = if text.starts_with("**/") || text.starts_with("~/") {
            text
        } else {
            text.strip_prefix('/').ok_or(FileGlobError::NotAbsolute)?
        };
        let mut pieces = Vec::new();
        for name in inner.split('/').filter(|name| !name.is_empty()) {
            pieces.push(match name {
                "**" => Piece::Any,
                "." | ".." => return Err(FileGlobError::DotSegment),
                _ if name.contains("**") => return Err(FileGlobError::PartialDoubleStar),
                _ => Piece::Name(Stars::parse(name, 0)),
            });
        }
        if pieces.iter().all(|piece| matches!(piece, Piece::Any)) {
            return Err(FileGlobError::Everything);
        }
        if pieces.len() > MOST_NAMES {
            return Err(FileGlobError::TooLong);
        }
        Ok(Self { text: text.into(), pieces: pieces.into() })
    }

    /// The glob with `~/` standing for this folder, in which a star stands for itself no more than in any
    /// other glob.
    #[must_use]
    pub fn with_home(&self, home: &str) -> Self {
        let Some(rest) = self.text.strip_prefix("~/") else { return self.clone() };
        let names = home.split('/').filter(|name| !name.is_empty());
        let literal = |name: &str| Piece::Name(Stars::new(vec![name.as_bytes().into()], 0));
        let pieces = names.take(20).map(literal).chain(self.pieces.iter().skip(1).cloned()).collect();
        Self { text: format!("{}/{rest}", home.trim_end_matches('/')).into(), pieces }
    }

    /// The glob that is exactly this path, whatever characters are in it.
    #[must_use]
    pub fn literal(path: &[u8]) -> Self {
        // What is deeper is covered with the folder at that depth: more is denied, never less.
        let pieces = names(path).take(MOST_NAMES).map(|name| Piece::Name(Stars::new(vec![name.into()], 0)));
        Self { text: String::from_utf8_lossy(path).into(), pieces: pieces.collect() }
    }

    /// The same in lower case, for names that were put in lower case too.
    pub(crate) fn folded(&self) -> Self {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Any => Piece::Any,
            Piece::Name(stars) => Piece::Name(stars.to_ascii_lowercase()),
        });
        Self { text: Arc::clone(&self.text), pieces: pieces.collect() }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no star in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Name(stars) if stars.literal().is_some()))
    }

    /// The folders that whatever it matches lies in: its names up to the first with a star, without the last one.
    pub(crate) fn literal_folders(&self) -> String {
        let names = self.text.trim_end_matches('/').rsplit_once('/').map_or("", |(folders, _)| folders);
        let plain = names.split('/').take_while(|name| !name.contains('*'));
        plain.collect::<Vec<_>>().join("/")
    }

    /// Whether it matches exactly this path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.accepts(self.reach(path))
    }

    /// Whether it matches this path or a folder above it.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut at = self.start();
        names(path).any(|name| {
            at = self.step(at, name);
            self.accepts(at)
        })
    }

    /// Whether it could match something below this folder.
    #[must_use]
    pub fn could_match_below(&self, folder: &[u8]) -> bool {
        let at = self.reach(folder);
        at.0 & !(1 << self.pieces.len()) != 0 || self.pieces.last() == Some(&Piece::Any) && !at.is_dead()
    }

    /// Whether some path is matched by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.pieces, &other.pieces);
        common_word(one.len(), two.len(), |i, j| match (one.get(i), two.get(j)) {
            (Some(Piece::Any), _) => Meeting::OneSwallows,
            (_, Some(Piece::Any)) => Meeting::TwoSwallows,
            (Some(Piece::Name(a)), Some(Piece::Name(b))) if a.overlaps(b) => Meeting::Together,
            (Some(_), Some(_)) | (None, _) | (_, None) => Meeting::Apart,
        })
    }

    /// Where a path has come to in the pattern.
    pub(crate) fn reach(&self, path: &[u8]) -> Reached {
        names(path).fold(self.start(), |at, name| self.step(at, name))
    }

    fn start(&self) -> Reached {
        self.close(Reached(1))
    }

    /// `Any` may stand for nothing: who stands before it stands behind it too.
    fn close(&self, at: Reached) -> Reached {
        let mut bits = at.0;
        for (index, piece) in self.pieces.iter().enumerate() {
            if matches!(piece, Piece::Any) && bits & (1 << index) != 0 {
                bits |= 1 << (index + 1);
            }
        }
        Reached(bits)
    }

    fn step(&self, at: Reached, name: &[u8]) -> Reached {
        let mut next = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            if at.0 & (1 << index) == 0 {
                continue;
            }
            match piece {
                Piece::Any => next |= 1 << index,
                Piece::Name(stars) if stars.matches(name) => next |= 1 << (index + 1),
                Piece::Name(_) => {}
            }
        }
        self.close(Reached(next))
    }

    pub(crate) fn accepts(&self, at: Reached) -> bool {
        at.0 & (1 << self.pieces.len()) != 0
    }
}

impl Reached {
    /// Whether every continuation that matches from here also matches from there.
    pub(crate) const fn within(self, there: Self) -> bool {
        self.0 & !there.0 == 0
    }

    /// Whether nothing below can match any more.
    pub(crate) const fn is_dead(self) -> bool {
        self.0 == 0
    }
}

impl PartialEq for FileGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FileGlob {}

impl fmt::Display for FileGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The names of an absolute path.
pub(crate) fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{FileGlob, FileGlobError};

    #[test]
    fn covers_what_it_matches_and_below() {
        for (glob, path, expected) in [
            ("**/.env", "/workspace/.env", true),
            ("**/.env", "/.env", true),
            ("**/.env", "/workspace/a/b/.env", true),
            ("**/.env", "/workspace/.env.local", false),
            ("**/.env", "/workspace/.env/below", true),
            ("/workspace/*.pem", "/workspace/a.pem", true),
            ("/workspace/*.pem", "/workspace/d/a.pem", false),
            ("/workspace/**/*.pem", "/workspace/a.pem", true),
            ("/workspace/**/*.pem", "/workspace/d/e/a.pem", true),
            ("/workspace/**", "/workspace", true),
            ("**/secret/**/key", "/x/secret/a/b/key", true),
            ("**/a/a/b", "/a/a/a/b", true),
        ] {
            assert_eq!(FileGlob::parse(glob).unwrap().covers(path.as_bytes()), expected, "{glob} {path}");
        }
    }

    #[test]
    fn home_is_put_in_as_it_is() {
        let glob = FileGlob::parse("~/.ssh/*").unwrap().with_home("/home/a*b");
        assert!(glob.covers(b"/home/a*b/.ssh/id"));
        assert!(!glob.covers(b"/home/axb/.ssh/id"));
    }

    #[test]
    fn what_is_no_glob() {
        for (text, error) in [
            (".env", FileGlobError::NotAbsolute),
            ("**/..", FileGlobError::DotSegment),
            ("/a**", FileGlobError::PartialDoubleStar),
            ("/**", FileGlobError::Everything),
            ("/", FileGlobError::Everything),
        ] {
            assert_eq!(FileGlob::parse(text), Err(error), "{text}");
        }
    }
}
