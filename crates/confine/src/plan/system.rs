//! The system's own folders, as the host lays them out, and the empty ones around them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    plan::{PlanError, System},
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

/// What of an image's root is the sandbox's own, or assembled by name.
const NOT_TAKEN: &[&str] = &[
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "etc",
    "var",
    "home",
    "mnt",
    "media",
    "boot",
    "lost+found",
    "workspace",
];

/// The folders of programs and libraries, and of whatever else an image brings.
pub(super) fn programs(system: System) -> Result<Vec<PathBuf>, PlanError> {
    let mut paths: Vec<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
    if system == System::Image {
        let root = Path::new("/");
        refuse_links(root)?;
        let failed = |source| PlanError::Host { path: root.to_owned(), source };
        for entry in fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let taken =
                name.to_str().is_some_and(|name| !name.starts_with('.') && !NOT_TAKEN.contains(&name));
            if taken && !paths.contains(&entry.path()) {
                paths.push(entry.path());
            }
        }
    }
    Ok(paths)
}

/// Where engines put their own things, and ours: a link would show them in a folder of the image that is taken.
fn refuse_links(root: &Path) -> Result<(), PlanError> {
    let engines = ["run", "dev", "etc", "proc", "sys"].map(|name| root.join(name));
    engines.into_iter().find(|path| path.is_symlink()).map_or(Ok(()), |path| Err(PlanError::ImageLink(path)))
}

/// All of it.
pub(super) fn steps(programs: &[PathBuf]) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    for path in programs {
        steps.extend(as_on_host(path)?);
    }
    let taken = |path: &str| programs.iter().any(|program| program == Path::new(path));
    steps.extend(EMPTY.iter().filter(|path| !taken(path)).map(|path| Step::Folder(PathBuf::from(path))));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_leads_away_what_engines_put_there() {
        let root = std::env::temp_dir().join(format!("chiton-image-links-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        std::os::unix::fs::symlink("var/home", root.join("home")).unwrap();
        let plain = refuse_links(&root);
        std::os::unix::fs::symlink("usr/run", root.join("run")).unwrap();
        let led_away = refuse_links(&root);
        fs::remove_dir_all(&root).unwrap();
        assert!(plain.is_ok());
        assert!(matches!(led_away, Err(PlanError::ImageLink(path)) if path.ends_with("run")));
    }
}
