//! A policy with what it extends, flattened into one document: that is what is stored and travels.

use std::path::{Path, PathBuf};

use chiton_policy::{
    Policy,
    model::{Extend, Preset},
};

use crate::{error::CliError, output, source::read};

/// Files that extend files that extend files: deeper is a mistake.
const DEEPEST: usize = 8;

/// The text of a policy with everything that it extends; none where it extends nothing, or does not load (which its
/// own check says better). Files are relative to `folder`.
pub(crate) fn flattened(text: &str, folder: &Path) -> Result<Option<String>, CliError> {
    let Ok(policy) = Policy::parse(text) else { return Ok(None) };
    if policy.extends.is_empty() {
        return Ok(None);
    }
    let mut above = Vec::new();
    Ok(Some(resolved(policy, folder, &mut above)?.to_yaml()))
}

fn resolved(policy: Policy, folder: &Path, above: &mut Vec<PathBuf>) -> Result<Policy, CliError> {
    let extends = policy.extends.clone();
    extends.iter().try_fold(policy, |policy, extend| {
        Ok(policy.inheriting(match extend {
            Extend::Preset(preset) => of_preset(*preset)?,
            Extend::File(file) => of_file(&folder.join(file), above)?,
        }))
    })
}

fn of_preset(preset: Preset) -> Result<Policy, CliError> {
    // A test of every preset holds this.
    Policy::parse(preset.text())
        .map_err(|_| CliError::new(format!("the preset `{}` does not load", preset.as_str())))
}

fn of_file(file: &Path, above: &mut Vec<PathBuf>) -> Result<Policy, CliError> {
    let shown = file.display();
    let path = file.canonicalize().map_err(|error| {
        CliError::new(format!("cannot read `{shown}`, which the policy extends: {error}"))
            .hint("a file in `extends` is relative to the document that names it")
    })?;
    if above.contains(&path) || above.len() >= DEEPEST {
        return Err(CliError::new(format!("`{shown}` extends itself, or is extended {DEEPEST} files deep")));
    }
    let text = read(&path)?;
    let policy = Policy::parse(&text).map_err(|diagnostics| {
        output::diagnostics(&diagnostics, &shown.to_string());
        CliError::new(format!("`{shown}`, which the policy extends, has errors"))
    })?;
    above.push(path.clone());
    let resolved = resolved(policy, path.parent().unwrap_or(Path::new("/")), above);
    above.pop();
    resolved
}
