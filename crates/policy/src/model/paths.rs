//! Paths of a policy: absolute, or under the caller's home.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::patterns::FileGlob;

/// An absolute path without `.` or `..`, or one under `~/`. Normalised: no double or trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyPath(Arc<str>);

/// A path or a glob that is denied, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeniedPattern {
    /// This path.
    Literal(PolicyPath),
    /// Whatever the glob matches, also later.
    Glob(FileGlob),
}

/// Why a text is no path of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/` or `~/`.
    #[error("a path is absolute, or begins with `~/`")]
    NotAbsolute,
    /// `.` or `..`
    #[error("a path has no `.` or `..`")]
    DotSegment,
    /// The root, the home itself, or what the system itself needs.
    #[error("this would take in more than may be given: name a folder below it")]
    TooHigh,
    /// `/proc`, `/sys` or `/dev`, which a sandbox has of its own.
    #[error("a sandbox has its own; the host's is never given")]
    SystemOwn,
    /// A star.
    #[error("stars are for `denied_paths`: this is a path, and everything below it is meant anyway")]
    Glob,
    /// A NUL or other control character.
    #[error("a path has no control characters")]
    Control,
}

impl PolicyPath {
    /// Reads a path.
    ///
    /// # Errors
    /// When it is relative, or holds `..` or a control character.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let (root, inner) = if text == "~" {
            ("~", "")
        } else if let Some(inner) = text.strip_prefix("~/") {
            ("~", inner)
        } else {
            ("", text.strip_prefix('/').ok_or(PathError::NotAbsolute)?)
        };
        let names: Vec<&str> = inner.split('/').filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| matches!(*name, "." | "..")) {
            return Err(PathError::DotSegment);
        }
        let joined = names.join("/");
        Ok(Self(match (root, joined.as_str()) {
            ("~", "") => "~".into(),
            (root, inner) => format!("{root}/{inner}").into(),
        }))
    }

    /// Reads a path that is to be given to the agent.
    ///
    /// # Errors
    /// Also when it is a glob, the root, the home itself, or one of the system's own folders.
    pub fn parse_given(text: &str) -> Result<Self, PathError> {
        let path = Self::parse(text)?;
        if text.contains('*') {
            return Err(PathError::Glob);
        }
        path.check_given()?;
        Ok(path)
    }

    fn check_given(&self) -> Result<(), PathError> {
        let top = self.0.split('/').nth(1).unwrap_or_default();
        match (&*self.0, top) {
            ("~" | "/" | "/run" | "/home", _) => Err(PathError::TooHigh),
            (_, "proc" | "sys" | "dev") if !self.is_under_home() => Err(PathError::SystemOwn),
            _ => Ok(()),
        }
    }

    fn is_under_home(&self) -> bool {
        self.0.starts_with('~')
    }

    /// As written, normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path with `~` standing for this folder.
    #[must_use]
    pub fn resolve(&self, home: &Path) -> PathBuf {
        match self.0.strip_prefix('~') {
            Some(rest) => home.join(rest.trim_start_matches('/')),
            None => PathBuf::from(&*self.0),
        }
    }

    /// The path with `~` standing for this folder, where that may be given to an agent.
    ///
    /// # Errors
    /// When it is the home itself or a folder above it, or at or above one of `kept`, which are chiton's own.
    pub fn resolve_given(&self, home: &Path, kept: &[PathBuf]) -> Result<PathBuf, PathError> {
        let path = self.resolve(home);
        // These two are the sandbox's own under every driver, whatever the host has there.
        if matches!(&*self.0, "/tmp" | "/workspace") {
            return Ok(path);
        }
        let above = |inner: &Path| inner.starts_with(&path);
        if above(home) || kept.iter().any(|folder| above(folder)) {
            return Err(PathError::TooHigh);
        }
        Ok(path)
    }
}

impl fmt::Display for PolicyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DeniedPattern {
    /// As written, normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            DeniedPattern::Literal(path) => path.as_str(),
            DeniedPattern::Glob(glob) => glob.as_str(),
        }
    }
}

impl fmt::Display for DeniedPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{PathError, PolicyPath};
    use std::path::Path;

    #[test]
    fn normal_form() {
        for (text, form) in [("/a//b/", "/a/b"), ("~/x/", "~/x"), ("/", "/"), ("~", "~"), ("~/", "~")] {
            assert_eq!(PolicyPath::parse(text).unwrap().as_str(), form);
        }
        assert_eq!(PolicyPath::parse("a"), Err(PathError::NotAbsolute));
        assert_eq!(PolicyPath::parse("~user/x"), Err(PathError::NotAbsolute));
        assert_eq!(PolicyPath::parse("/a/../b"), Err(PathError::DotSegment));
    }

    #[test]
    fn what_is_never_given() {
        for text in ["/", "~", "~/", "/run", "/home", "//"] {
            assert_eq!(PolicyPath::parse_given(text), Err(PathError::TooHigh), "{text}");
        }
        for text in ["/proc", "/dev/shm", "/sys/"] {
            assert_eq!(PolicyPath::parse_given(text), Err(PathError::SystemOwn), "{text}");
        }
        let path = PolicyPath::parse_given("/root").unwrap();
        assert_eq!(path.resolve_given(Path::new("/root"), &[]), Err(PathError::TooHigh));
        assert!(path.resolve_given(Path::new("/home/u"), &[]).is_ok());
        assert!(path.resolve_given(Path::new("/home/u"), &["/root/state".into()]).is_err());
    }
}
