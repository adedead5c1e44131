//! Who asks: the executable of a connection's owner, and the patterns of `binaries` over it.

use std::sync::Arc;

use crate::patterns::{BinaryPattern, FileGlob};

/// The executable that asks, as far as it is known. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary(Arc<Names>);

#[derive(Debug, PartialEq, Eq)]
struct Names {
    shown: Box<str>,
    /// Every name of it that a pattern may match.
    names: Vec<Box<[u8]>>,
    /// The same of the script that it was started with.
    script: Vec<Box<[u8]>>,
}

impl Binary {
    /// An executable at this path, symlinks resolved, and under what other names a policy may mean it: with `~/`, or
    /// by a symlink that leads to it.
    pub fn new(path: &str, others: impl IntoIterator<Item = String>) -> Self {
        Self::of(path, names(path, others), Vec::new())
    }

    /// The same, started with this script, for certain.
    #[must_use]
    pub fn running(&self, script: &str, others: impl IntoIterator<Item = String>) -> Self {
        let shown = format!("{} {script}", self.0.shown);
        Self::of(&shown, self.0.names.clone(), names(script, others))
    }

    /// One whose path does not say what it is, for the agent can write there. No pattern matches it.
    #[must_use]
    pub fn unfixed(path: &str) -> Self {
        Self::of(path, Vec::new(), Vec::new())
    }

    fn of(shown: &str, names: Vec<Box<[u8]>>, script: Vec<Box<[u8]>>) -> Self {
        Self(Arc::new(Names { shown: shown.into(), names, script }))
    }

    /// Its path, and its script's behind it, for people.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.0.shown
    }
}

fn names(path: &str, others: impl IntoIterator<Item = String>) -> Vec<Box<[u8]>> {
    let names = std::iter::once(path.to_owned()).chain(others);
    names.map(|name| name.into_bytes().into_boxed_slice()).collect()
}

/// Whether `binaries` let this one use the rule. An owner that cannot be told for certain does not match.
#[must_use]
pub fn binary_matches(binaries: Option<&[BinaryPattern]>, binary: Option<&Binary>) -> bool {
    let Some(patterns) = binaries else { return true };
    let Some(Binary(known)) = binary else { return false };
    let one_of = |names: &[Box<[u8]>], glob: &FileGlob| names.iter().any(|name| glob.matches(name));
    patterns.iter().any(|pattern| {
        one_of(&known.names, pattern.program())
            && pattern.script().is_none_or(|script| one_of(&known.script, script))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_fixed_one_matches_and_nothing_else() {
        let globs = |texts: &[&str]| -> Vec<BinaryPattern> {
            texts.iter().map(|text| BinaryPattern::parse(text).unwrap()).collect()
        };
        let python = Binary::new("/usr/bin/python3.11", ["/usr/bin/python3".to_owned()]);
        let tool = Binary::new("/home/u/bin/tool", ["~/bin/tool".to_owned()]);
        let runs = python.running("/opt/tool.py", ["/opt/link.py".to_owned()]);
        assert_eq!(runs.shown(), "/usr/bin/python3.11 /opt/tool.py");
        for (patterns, binary, expected) in [
            (None, None, true),
            (Some(&["/usr/bin/python3"][..]), Some(&python), true),
            (Some(&["/usr/bin/python3.*"]), Some(&python), true),
            (Some(&["/usr/bin/python"]), Some(&python), false),
            (Some(&["/usr/bin"]), Some(&python), false),
            (Some(&["~/bin/*"]), Some(&tool), true),
            (Some(&["/usr/bin/python3"]), None, false),
            (Some(&["/usr/bin/python3"]), Some(&Binary::unfixed("/usr/bin/python3")), false),
            (Some(&[]), Some(&python), false),
            (Some(&["/usr/bin/python3 /opt/tool.py"]), Some(&runs), true),
            (Some(&["/usr/bin/python3 /opt/link.py"]), Some(&runs), true),
            (Some(&["/usr/bin/python3"]), Some(&runs), true),
            (Some(&["/usr/bin/python3 /opt/other.py"]), Some(&runs), false),
            (Some(&["/usr/bin/perl /opt/tool.py"]), Some(&runs), false),
            (Some(&["/usr/bin/python3 /opt/tool.py"]), Some(&python), false),
        ] {
            let globs = patterns.map(globs);
            assert_eq!(binary_matches(globs.as_deref(), binary), expected, "{patterns:?} {binary:?}");
        }
    }
}
