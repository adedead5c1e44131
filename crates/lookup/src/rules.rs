//! What this crate asks of a policy's file rules. Pure: paths as seen inside, in; a standing, out.

use std::path::{Path, PathBuf};

/// How a path stands under the policy. Ordered: where several names mean one object, the greatest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Read and written.
    Open,
    /// A folder there is read and written, and can be made. Anything else is protected: a `.git` file would lead
    /// the host elsewhere, a `.git` folder is a repository.
    FolderOnly,
    /// In an area that is only read.
    ReadOnly,
    /// Read, but not written, made, removed, renamed or changed in its attributes.
    Protected,
    /// Does not exist.
    Denied,
}

/// A path that the policy names without a wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// As seen inside.
    pub path: PathBuf,
    /// [`Standing::FolderOnly`], [`Standing::Protected`] or [`Standing::Denied`].
    pub standing: Standing,
}

/// The file rules of one sandbox.
pub trait Rules: Send + Sync {
    /// How an absolute path without `.`, `..` and empty components stands. What lies under a denied path is
    /// denied, and so for the other standings, unless a stricter one applies.
    fn judge(&self, path: &Path) -> Standing;

    /// Every path that is denied or protected by a literal.
    fn literals(&self) -> &[Literal];

    /// Whether a pattern matches, or may match, something below this directory in a way that depends on where
    /// the directory is. `**/.env` does not: it follows wherever the directory goes.
    fn place_matters_below(&self, directory: &Path) -> bool;

    /// The same path with the names in it written as the rules write them, where they differ only by letter
    /// case or unicode normalisation and that form is denied or protected.
    fn near(&self, path: &Path) -> Option<PathBuf>;

    /// Whether any pattern has a wildcard: then objects with several names are looked for in the live folders.
    fn has_patterns(&self) -> bool;
}
