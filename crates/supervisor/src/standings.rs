//! The policy's file rules, as the judge of lookups asks them.

use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use chiton_lookup::{Literal, Rules, Standing};
use chiton_policy::{FileGlob, FileRules, FileVerdict, Protection};

/// A folder of a name that no policy has, deeper and deeper: whatever a pattern still matches there, it
/// matches everywhere.
const NOWHERE: &[u8] = b"/\x01/\x01/\x01/\x01/\x01/\x01/\x01/\x01";

/// The rules of one sandbox.
#[derive(Debug)]
pub(crate) struct Standings {
    files: FileRules,
    literals: Vec<Literal>,
    has_patterns: bool,
}

impl Standings {
    /// From the policy's.
    pub(crate) fn new(files: FileRules) -> Self {
        let literal = |glob: &FileGlob, standing| Literal { path: PathBuf::from(glob.as_str()), standing };
        let denied = files.denied_patterns().filter(|glob| glob.is_literal());
        let literals = denied
            .map(|glob| literal(glob, Standing::Denied))
            .chain(files.protected_paths().map(|(glob, kind)| literal(glob, protected(kind))))
            .collect();
        let has_patterns = files.denied_patterns().any(|glob| !glob.is_literal());
        Self { files, literals, has_patterns }
    }

    /// The literal that a path leads to or below when letter case does not count, with the rest of the path.
    fn near_literal(&self, path: &Path) -> Option<PathBuf> {
        self.literals.iter().find_map(|literal| {
            let mut rest = path.components();
            let same = |(a, b): (&OsStr, &OsStr)| a.as_bytes().eq_ignore_ascii_case(b.as_bytes());
            let all = literal
                .path
                .components()
                .all(|wanted| rest.next().is_some_and(|name| same((name.as_os_str(), wanted.as_os_str()))));
            let near = all.then(|| literal.path.join(rest.as_path()))?;
            (near != path).then_some(near)
        })
    }
}

/// How what is protected by default stands.
fn protected(protection: Protection) -> Standing {
    match protection {
        // A repository that the agent makes is its own; a file would lead the host to one elsewhere.
        Protection::GitFile => Standing::FolderOnly,
        Protection::GitHooks
        | Protection::GitConfig
        | Protection::GitModules
        | Protection::Envrc
        | Protection::Vscode
        | Protection::Idea
        | Protection::PolicyFile => Standing::Protected,
    }
}

impl Rules for Standings {
    fn judge(&self, path: &Path) -> Standing {
        match self.files.judge(path.as_os_str().as_bytes()) {
            FileVerdict::Denied => Standing::Denied,
            FileVerdict::Protected(protection) => protected(protection),
            FileVerdict::ReadOnly => Standing::ReadOnly,
            // What the policy does not name is the sandbox's own: the view's mounts decide.
            FileVerdict::ReadWrite | FileVerdict::Outside => Standing::Open,
        }
    }

    fn literals(&self) -> &[Literal] {
        &self.literals
    }

    fn place_matters_below(&self, directory: &Path) -> bool {
        let from = directory.as_os_str().as_bytes();
        (2..=NOWHERE.len()).step_by(2).any(|end| {
            let to = NOWHERE.get(..end).unwrap_or(NOWHERE);
            self.files.rename_could_hide(from, to)
        })
    }

    fn near(&self, path: &Path) -> Option<PathBuf> {
        let bytes = path.as_os_str().as_bytes();
        if !self.files.is_near(bytes) {
            return None;
        }
        self.near_literal(path).or_else(|| {
            let lower = bytes.to_ascii_lowercase();
            let near = PathBuf::from(std::ffi::OsString::from_vec(lower));
            let strict = match self.judge(&near) {
                Standing::Denied | Standing::Protected | Standing::FolderOnly => true,
                Standing::Open | Standing::ReadOnly => false,
            };
            (strict && near != path).then_some(near)
        })
    }

    fn has_patterns(&self) -> bool {
        self.has_patterns
    }
}

#[cfg(test)]
mod tests {
    use chiton_policy::{FileScope, Policy};

    use super::*;

    fn standings(git_at_start: bool) -> Standings {
        let text = "version: 1\nstatic:\n  filesystem:\n    allowed_paths: [/workspace]\n    \
                    read_only_paths: [/opt/tools]\n    \
                    denied_paths: [/workspace/Secret, '**/.env', '/workspace/*/keys']\n";
        let policy = Policy::parse(text).unwrap();
        let scope = FileScope { home: "/home/u".into(), git_at_start, ..FileScope::default() };
        Standings::new(FileRules::new(&policy.fixed.filesystem, &scope).unwrap())
    }

    #[test]
    fn paths_stand_as_the_policy_says() {
        let rules = standings(true);
        for (path, standing) in [
            ("/workspace/a", Standing::Open),
            ("/usr/bin/env", Standing::Open),
            ("/opt/tools/x", Standing::ReadOnly),
            ("/workspace/.git/hooks/pre-commit", Standing::Protected),
            ("/workspace/.git", Standing::FolderOnly),
            ("/workspace/.git/index", Standing::Open),
            ("/workspace/a/.env/b", Standing::Denied),
            ("/workspace/Secret/x", Standing::Denied),
        ] {
            assert_eq!(rules.judge(Path::new(path)), standing, "{path}");
        }
        assert!(rules.has_patterns());
        assert!(rules.literals().iter().any(|l| l.path == Path::new("/workspace/Secret")));
    }

    #[test]
    fn a_repository_that_the_agent_makes_is_its_own() {
        let rules = standings(false);
        assert_eq!(rules.judge(Path::new("/workspace/.git")), Standing::FolderOnly);
        assert_eq!(rules.judge(Path::new("/workspace/.git/hooks/x")), Standing::Open);
        assert_eq!(rules.judge(Path::new("/workspace/.envrc")), Standing::Protected);
    }

    #[test]
    fn a_place_matters_where_a_pattern_names_it() {
        let rules = standings(true);
        assert!(rules.place_matters_below(Path::new("/workspace/a")));
        assert!(!rules.place_matters_below(Path::new("/workspace/a/b/c")));
    }

    #[test]
    fn other_letters_of_a_denied_name_are_near() {
        let rules = standings(true);
        let near = |path| rules.near(Path::new(path));
        assert_eq!(near("/workspace/SECRET/x"), Some("/workspace/Secret/x".into()));
        assert_eq!(near("/workspace/.ENV"), Some("/workspace/.env".into()));
        assert_eq!(near("/workspace/.env"), None);
        assert_eq!(near("/workspace/other"), None);
    }
}
