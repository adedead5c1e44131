//! Which files a policy gives, protects and denies: a pure judgement over absolute paths inside the sandbox.
//!
//! The caller resolves links and `..` first and asks about the path that it will act on. Objects with other
//! names (hard links) it compares by inode; [`FileRules::is_near`] tells when another spelling of a denied
//! name may be the same object on a file system that folds case or unicode forms.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::{
    model::{DeniedPattern, FilesystemRules, PathError, Protection},
    patterns::FileGlob,
};

/// Where the folder given with `-w` is inside.
pub const WORKSPACE: &str = "/workspace";

/// What the policy's paths mean in one sandbox.
#[derive(Clone, Debug, Default)]
pub struct FileScope {
    /// The caller's home, which `~/` means; the same path inside.
    pub home: PathBuf,
    /// The policy file in use, as a path inside, where it lies in the workspace.
    pub policy_file: Option<PathBuf>,
    /// Chiton's own folders: they do not exist inside.
    pub own_folders: Vec<PathBuf>,
    /// Further paths that may be read.
    pub extra_read_only: Vec<PathBuf>,
    /// Whether the workspace had a `.git` at the start. One that the agent makes is its own.
    pub git_at_start: bool,
}

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileVerdict {
    /// It does not exist, whatever is there.
    Denied,
    /// It may be read. It may not be written, made, removed, renamed, replaced or linked.
    /// [`Protection::GitFile`] holds for what is not a folder: a `.git` folder may be used, and made.
    Protected(Protection),
    /// It may be read and executed.
    ReadOnly,
    /// It may be read and written.
    ReadWrite,
    /// The policy does not name it: the sandbox's own view decides.
    Outside,
}

/// The compiled file half of a policy.
#[derive(Clone, Debug)]
pub struct FileRules {
    denied: Vec<FileGlob>,
    protected: Vec<(FileGlob, Protection)>,
    given: Vec<Given>,
    folded: Vec<FileGlob>,
}

#[derive(Clone, Debug)]
struct Given {
    path: PathBuf,
    writable: bool,
}

/// A path of the policy that cannot be given in this sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` cannot be given to the agent: {error}")]
pub struct PathRefused {
    /// As the policy writes it.
    pub path: String,
    /// Why.
    #[source]
    pub error: PathError,
}

impl FilesystemRules {
    /// The policy's paths as they are in this sandbox: those to write and those to read.
    ///
    /// # Errors
    /// When one is the home or above it, or at or above one of chiton's own folders.
    pub fn resolve(&self, scope: &FileScope) -> Result<ResolvedPaths, PathRefused> {
        let resolve = |paths: &[crate::PolicyPath]| {
            let each = paths.iter().map(|path| {
                path.resolve_given(&scope.home, &scope.own_folders)
                    .map_err(|error| PathRefused { path: path.to_string(), error })
            });
            each.collect::<Result<Vec<PathBuf>, PathRefused>>()
        };
        let mut read_only = resolve(&self.read_only)?;
        read_only.extend(scope.extra_read_only.iter().cloned());
        let denied = self.denied.iter().filter_map(|pattern| match pattern {
            DeniedPattern::Literal(path) => Some(path.resolve(&scope.home)),
            DeniedPattern::Glob(_) => None,
        });
        Ok(ResolvedPaths { writable: resolve(&self.allowed)?, read_only, denied: denied.collect() })
    }

    /// The built-in protections that hold, as paths in the workspace.
    #[must_use]
    pub fn protections(&self) -> Vec<Protection> {
        let lifted = |protection: &Protection| !self.unprotected.contains(protection);
        Protection::LIFTABLE.into_iter().filter(lifted).collect()
    }
}

/// Absolute paths, `~/` resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedPaths {
    /// `allowed_paths`
    pub writable: Vec<PathBuf>,
    /// `read_only_paths`, and what was given besides.
    pub read_only: Vec<PathBuf>,
    /// The literal ones of `denied_paths`.
    pub denied: Vec<PathBuf>,
}

/// Git reads a configuration from, or by, these too: `commondir` names the folder that `config` and `hooks` are
/// taken from, in a main `.git` as well.
const OTHER_GIT_CONFIGS: &[&str] = &[".git/commondir", ".git/config.worktree"];

impl FileRules {
    /// Makes the rules of one sandbox.
    ///
    /// # Errors
    /// As [`FilesystemRules::resolve`].
    pub fn new(rules: &FilesystemRules, scope: &FileScope) -> Result<Self, PathRefused> {
        let paths = rules.resolve(scope)?;
        let given = |list: Vec<PathBuf>, writable| list.into_iter().map(move |path| Given { path, writable });
        let given = given(paths.writable, true).chain(given(paths.read_only, false)).collect();
        let home = scope.home.to_string_lossy();
        let mut denied: Vec<FileGlob> = paths.denied.iter().chain(&scope.own_folders).map(literal).collect();
        denied.extend(rules.denied.iter().filter_map(|pattern| match pattern {
            DeniedPattern::Glob(glob) => Some(glob.with_home(&home)),
            DeniedPattern::Literal(_) => None,
        }));
        let mut protected = Vec::new();
        for protection in rules.protections() {
            let inside_git =
                matches!(protection, Protection::GitHooks | Protection::GitConfig | Protection::GitModules);
            if scope.git_at_start || !inside_git {
                let at = |name: &str| (literal(Path::new(WORKSPACE).join(name)), protection);
                protected.push(at(protection.as_str()));
                if protection == Protection::GitConfig {
                    protected.extend(OTHER_GIT_CONFIGS.iter().map(|name| at(name)));
                }
            }
        }
        // The one that the next start takes by itself, whether or not it is there or in use now.
        let next = Path::new(WORKSPACE).join("chiton.yaml");
        protected.push((literal(next), Protection::PolicyFile));
        if let Some(file) = &scope.policy_file {
            protected.push((literal(file), Protection::PolicyFile));
        }
        let folded =
            denied.iter().chain(protected.iter().map(|(glob, _)| glob)).map(FileGlob::folded).collect();
        Ok(Self { denied, protected, given, folded })
    }

    /// What may be done with an absolute path without `.`, `..` or links.
    #[must_use]
    pub fn judge(&self, path: &[u8]) -> FileVerdict {
        if self.denied.iter().any(|glob| glob.covers(path)) {
            return FileVerdict::Denied;
        }
        let protection = self.protected.iter().find(|(glob, protection)| match protection {
            // The folder's contents are the agent's.
            Protection::GitFile => glob.matches(path),
            Protection::GitHooks
            | Protection::GitConfig
            | Protection::GitModules
            | Protection::Envrc
            | Protection::Vscode
            | Protection::Idea
            | Protection::PolicyFile => glob.covers(path),
        });
        match protection {
            Some((_, protection)) => FileVerdict::Protected(*protection),
            None => self.judge_given(path),
        }
    }

    /// The longest path that covers it decides; of equals the one that gives less.
    fn judge_given(&self, path: &[u8]) -> FileVerdict {
        let covering =
            self.given.iter().filter(|given| is_at_or_below(path, given.path.as_os_str().as_bytes()));
        let longest = covering.max_by_key(|given| (given.path.as_os_str().len(), !given.writable));
        match longest {
            Some(Given { writable: true, .. }) => FileVerdict::ReadWrite,
            Some(Given { writable: false, .. }) => FileVerdict::ReadOnly,
            None => FileVerdict::Outside,
        }
    }

    /// Whether nothing is denied or protected at all, so that no lookup needs judging.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.denied.is_empty() && self.protected.is_empty()
    }

    /// Whether something literally denied or protected lies below this folder: it then cannot be renamed,
    /// removed or replaced, or what is below would get another name.
    #[must_use]
    pub fn holds_below(&self, folder: &[u8]) -> bool {
        self.guarded().filter(|glob| glob.is_literal()).any(|glob| {
            let at = glob.reach(folder);
            !at.is_dead() && !glob.accepts(at)
        })
    }

    /// Whether moving a folder could bring something below it out of reach of what denies or protects it.
    /// When in doubt it could.
    #[must_use]
    pub fn rename_could_hide(&self, from: &[u8], to: &[u8]) -> bool {
        self.guarded().any(|glob| {
            let before = glob.reach(from);
            !before.is_dead() && !before.within(glob.reach(to))
        })
    }

    /// Whether a path is not denied or protected by its bytes, but might be on a file system that folds case
    /// or unicode forms: the caller then compares inodes.
    #[must_use]
    pub fn is_near(&self, path: &[u8]) -> bool {
        if self.is_plain() || self.guarded().any(|glob| glob.covers(path)) {
            return false;
        }
        // Outside ASCII the foldings of file systems differ: any such name may be another's.
        !path.is_ascii() || {
            let folded = path.to_ascii_lowercase();
            self.folded.iter().any(|glob| glob.covers(&folded))
        }
    }

    /// The patterns that deny, `~/` resolved.
    pub fn denied_patterns(&self) -> impl Iterator<Item = &FileGlob> {
        self.denied.iter()
    }

    /// The built-in protections that hold, as absolute paths.
    pub fn protected_paths(&self) -> impl Iterator<Item = (&FileGlob, Protection)> {
        self.protected.iter().map(|(glob, protection)| (glob, *protection))
    }

    fn guarded(&self) -> impl Iterator<Item = &FileGlob> {
        self.denied.iter().chain(self.protected.iter().map(|(glob, _)| glob))
    }
}

fn literal(path: impl AsRef<Path>) -> FileGlob {
    FileGlob::literal(path.as_ref().as_os_str().as_bytes())
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests;
