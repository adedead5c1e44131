//! The steps that a view is made of.

use std::path::PathBuf;

use serde::Serialize;

/// One step of building the view. Paths are inside unless they are said to be the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A folder in the view's own tree, with those above it.
    Folder(PathBuf),
    /// A file in the view's own tree.
    File {
        /// Where.
        path: PathBuf,
        /// What it says.
        text: String,
    },
    /// A small file of the host's that everybody may read, as it is at the start; nothing where it is gone by then. A
    /// mount would show no more: whatever changes such a file puts another in its place.
    Copy(PathBuf),
    /// The trusted roots: the host's bundle, then the sandbox's own authority.
    TrustBundle {
        /// Where.
        path: PathBuf,
        /// The host's bundle, where it has one.
        host: Option<PathBuf>,
        /// The authority's certificate (PEM).
        authority: String,
    },
    /// Java's trusted roots, likewise; nothing where the host's store is of a format that takes no more.
    JavaRoots {
        /// Where the store is written.
        path: PathBuf,
        /// What it covers.
        over: PathBuf,
        /// The host's store.
        host: PathBuf,
        /// The authority's certificate (PEM).
        authority: String,
    },
    /// A symbolic link in the view's own tree.
    Link {
        /// Where.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// An empty filesystem in memory.
    Memory {
        /// Where.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// Its number of files.
        inodes: u64,
        /// The mode of its root, octal as in `1777`.
        mode: &'static str,
        /// Whether nothing can be written.
        read_only: bool,
    },
    /// A folder of such a filesystem, mounted by itself.
    MemoryPart {
        /// Where.
        path: PathBuf,
        /// Where the filesystem hangs until the view is entered.
        of: PathBuf,
        /// The mode of the folder, octal as in `1777`.
        mode: &'static str,
        /// Whether nothing can be written.
        read_only: bool,
    },
    /// A mount of something that exists.
    Mount {
        /// Where; made if it is not there.
        path: PathBuf,
        /// Of what.
        source: Source,
    },
    /// A mount over something inside, skipped where that is not there (any more).
    Cover {
        /// Over what. No link in it is followed.
        path: PathBuf,
        /// With what.
        source: Source,
    },
    /// The same over everything that a glob matches below folders inside, as far as a bounded walk sees.
    CoverMatches {
        /// Segment by segment: `**` is any number of them.
        pattern: String,
        /// Where to look.
        below: Vec<PathBuf>,
    },
    /// The sandbox's own terminals.
    Terminals(PathBuf),
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A path of the host, read-only.
    Host(PathBuf),
    /// The same, where it exists.
    HostIfThere(PathBuf),
    /// A device node of the host.
    Device(PathBuf),
    /// The folder of this number in the plan's request.
    Shared(usize),
    /// A file or folder of the view itself, read-only.
    Inside(PathBuf),
    /// The covered thing itself, read-only.
    Itself,
    /// The same where it is a file.
    ItselfIfFile,
    /// Something empty of the same kind, that cannot be opened.
    Nothing,
}
