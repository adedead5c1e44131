//! Denied and protected paths, as mounts: the second layer, under the judgement of every lookup.

use std::path::PathBuf;

use crate::{
    folders::{Access, Folder},
    plan::{DeniedPath, HOME, PlanInputs, StaticRules},
    view::{Source, Step},
};

/// What the host would run or obey, by the name that `unprotected` lifts it by.
const PROTECTED: &[&str] =
    &[".git/hooks", ".git/config", ".git/modules", ".git", ".envrc", ".vscode", ".idea"];

/// All covers, protections first: a denial that lies in one stays a denial.
pub(super) fn steps(rules: &StaticRules, inputs: &PlanInputs, folders: &[Folder]) -> Vec<Step> {
    let mut steps = Vec::new();
    for folder in folders.iter().filter(|folder| folder.access == Access::ReadWrite) {
        for name in PROTECTED.iter().filter(|name| !rules.unprotected.contains(**name)) {
            // `.git` is protected as a file: as a folder only what it holds is.
            let source = if *name == ".git" { Source::ItselfIfFile } else { Source::Itself };
            steps.push(Step::Cover { path: folder.inside.join(name), source });
        }
    }
    steps.extend(
        inputs.policy_file.iter().map(|path| Step::Cover { path: path.clone(), source: Source::Itself }),
    );
    steps.extend(rules.denied.iter().map(|denied| match denied {
        DeniedPath::Literal(path) => Step::Cover { path: path.clone(), source: Source::Nothing },
        DeniedPath::Glob(pattern) => {
            Step::CoverMatches { pattern: pattern.clone(), below: places(pattern, folders) }
        }
    }));
    steps
}

/// Where a glob may match something that exists: in the shared folders. What is private is empty at the start.
fn places(pattern: &str, folders: &[Folder]) -> Vec<PathBuf> {
    let fixed: PathBuf = pattern.split('/').take_while(|segment| !segment.contains('*')).collect();
    let fixed = PathBuf::from("/").join(fixed);
    let below = |folder: &&Folder| {
        !folder.inside.starts_with(HOME)
            && (folder.inside.starts_with(&fixed) || fixed.starts_with(&folder.inside))
    };
    folders.iter().filter(below).map(|folder| folder.inside.clone()).collect()
}
