//! The system's own folders, as the host lays them out, and the empty ones around them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    plan::PlanError,
    view::{Source, Step},
};

/// Folders of programs and libraries. On a merged host most of them are links into `/usr`.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Folders that programs expect, empty here.
const EMPTY: &[&str] =
    &["/home", "/proc", "/sys", "/run", "/var/lib", "/var/cache", "/var/log", "/mnt", "/srv"];

/// Device nodes.
const NODES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Links, by where they stand and where they lead.
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/var/tmp", "/tmp"),
    ("/var/run", "/run"),
];

/// All of it.
pub(super) fn steps() -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    for path in PROGRAMS {
        steps.extend(as_on_host(Path::new(path))?);
    }
    steps.extend(EMPTY.iter().map(|path| Step::Folder(PathBuf::from(path))));
    steps.push(Step::Folder(PathBuf::from("/dev")));
    for node in NODES {
        steps.push(Step::Mount { path: PathBuf::from(node), source: Source::Device(PathBuf::from(node)) });
    }
    steps.push(Step::Terminals(PathBuf::from("/dev/pts")));
    for (path, target) in LINKS {
        steps.push(Step::Link { path: PathBuf::from(path), target: PathBuf::from(target) });
    }
    Ok(steps)
}

/// A step that repeats what the host has at a path: a link as a link, anything else as a read-only mount, nothing
/// as nothing.
pub(super) fn as_on_host(path: &Path) -> Result<Option<Step>, PlanError> {
    match fs::symlink_metadata(path) {
        Ok(found) => repeat(path, found.is_symlink()).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PlanError::Host { path: path.to_owned(), source }),
    }
}

/// The same for a path that is there.
pub(super) fn repeat(path: &Path, is_link: bool) -> Result<Step, PlanError> {
    let at = path.to_owned();
    if is_link {
        let target = fs::read_link(path).map_err(|source| PlanError::Host { path: at.clone(), source })?;
        return Ok(Step::Link { path: at, target });
    }
    // Gone by the time it is mounted is as good as never there.
    Ok(Step::Mount { source: Source::HostIfThere(at.clone()), path: at })
}
