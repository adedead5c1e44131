//! Which folders of the host may be given to an agent.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::error::GatewayError;

/// A path that something must not be at or above, and how it is called.
struct Kept<'a>(&'a Path, &'static str);

/// What is never given.
pub(super) struct Limits {
    own: Vec<PathBuf>,
    home: PathBuf,
}

impl Limits {
    pub(super) fn new(own: Vec<PathBuf>, home: PathBuf) -> Self {
        Self { own, home }
    }

    /// The canonical folder behind a path, where it may be given. `what` names the path in errors.
    pub(super) fn folder(&self, what: &'static str, path: &Path) -> Result<PathBuf, GatewayError> {
        let canonical = self.existing(what, path)?;
        if !canonical.is_dir() {
            return Err(GatewayError::Path(format!("{what} `{}` is not a folder", shown(path))));
        }
        Ok(canonical)
    }

    /// The canonical file or folder behind a path, where it may be given.
    pub(super) fn existing(&self, what: &'static str, path: &Path) -> Result<PathBuf, GatewayError> {
        if !path.is_absolute() {
            return Err(GatewayError::BadRequest(format!(
                "{what} `{}` is not an absolute path",
                shown(path)
            )));
        }
        let canonical = fs::canonicalize(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => GatewayError::Path(format!("{what} `{}` does not exist", shown(path))),
            _ => GatewayError::Path(format!("{what} `{}` cannot be used: {error}", shown(path))),
        })?;
        self.check(what, &canonical)?;
        Ok(canonical)
    }

    /// As [`Limits::existing`], for a path that is to be seen inside at the same place.
    pub(super) fn shown_inside(&self, what: &'static str, path: &Path) -> Result<PathBuf, GatewayError> {
        let canonical = self.existing(what, path)?;
        match ["/tmp", "/workspace", "/home/agent"].iter().find(|private| canonical.starts_with(private)) {
            Some(private) => Err(GatewayError::Path(format!(
                "{what} `{}` would not be seen inside: `{private}` is the sandbox's own there",
                shown(path)
            ))),
            None => Ok(canonical),
        }
    }

    fn check(&self, what: &'static str, path: &Path) -> Result<(), GatewayError> {
        let refused = |why: &str| GatewayError::Path(format!("{what} `{}` {why}", shown(path)));
        if let Some(inside) = self.own.iter().find(|own| path.starts_with(own)) {
            return Err(refused(&format!("lies in `{}`, which is chiton's own", shown(inside))));
        }
        let own = self.own.iter().map(|own| Kept(own, "a folder of chiton's own"));
        let kept = own.chain([
            Kept(&self.home, "the home"),
            Kept(Path::new("/run"), "`/run`"),
            Kept(Path::new("/proc"), "`/proc`"),
            Kept(Path::new("/sys"), "`/sys`"),
            Kept(Path::new("/dev"), "`/dev`"),
        ]);
        for Kept(inner, name) in kept {
            if inner.starts_with(path) {
                return Err(refused(&format!(
                    "is at or above {name} (`{}`): give a folder below",
                    shown(inner)
                )));
            }
        }
        if ["/proc", "/sys", "/dev"].iter().any(|system| path.starts_with(system)) {
            return Err(refused("is the system's own, which a sandbox has of its own"));
        }
        Ok(())
    }
}

/// A path in a message, without control characters.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_may_not_be_given_is_not_however_it_is_named() {
        let base = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(base.path()).unwrap();
        for folder in ["home/project", "home/.state/chiton/sub", "w"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("file"), "").unwrap();
        symlink(root.join("home"), root.join("link")).unwrap();
        let limits = Limits::new(vec![root.join("home/.state/chiton")], root.join("home"));
        let good = limits.folder("the workspace", &root.join("w")).unwrap();
        assert_eq!(good, root.join("w"));
        assert!(limits.folder("the workspace", &root.join("link/project")).is_ok());
        let bad = [
            "",
            "home",
            "link",
            "home/.state",
            "home/.state/chiton",
            "home/.state/chiton/sub",
            "file",
            "none",
        ];
        for bad in bad {
            let error = limits.folder("the workspace", &root.join(bad)).unwrap_err();
            assert!(matches!(error, GatewayError::Path(_)), "{bad}: {error}");
        }
        for bad in ["/", "/run", "/proc", "/proc/self", "/dev/shm", "/sys"] {
            assert!(limits.existing("the workspace", Path::new(bad)).is_err(), "{bad}");
        }
        assert!(matches!(limits.folder("the workspace", Path::new("w")), Err(GatewayError::BadRequest(_))));
    }
}
