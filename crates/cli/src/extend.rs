//! A policy with what it extends, flattened into one document: that is what is stored and travels.

use std::path::{Path, PathBuf};

use chiton_policy::{
    HostPattern, Policy,
    model::{Base, Preset},
};

use crate::{error::CliError, output, source::read};

/// Files that extend files that extend files: deeper is a mistake.
const DEEPEST: usize = 8;
/// And so are more of them.
const MOST: usize = 64;

/// A policy with everything that it extends.
#[derive(Debug)]
pub(crate) struct Flattened {
    /// Its text.
    pub(crate) text: String,
    /// Every file that was read for it, beside the policy's own.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads everything that a policy extends; none where that is nothing, or it does not load (which its own check says
/// better). Files are relative to `folder`.
pub(crate) fn flattened(text: &str, folder: &Path) -> Result<Option<Flattened>, CliError> {
    let Ok(policy) = Policy::parse(text) else { return Ok(None) };
    if policy.extends.is_empty() {
        return Ok(None);
    }
    let mut reading = Reading::default();
    let text = resolved(policy, folder, &mut reading)?.to_yaml();
    Ok(Some(Flattened { text, files: reading.files }))
}

/// What is being read, the outermost first, and what was read so far.
#[derive(Default)]
struct Reading {
    above: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn resolved(policy: Policy, folder: &Path, reading: &mut Reading) -> Result<Policy, CliError> {
    let extends = policy.extends.clone();
    extends.iter().try_fold(policy, |policy, extend| {
        let base = match &extend.base {
            Base::Preset(preset) => of_preset(*preset)?,
            Base::File(file) => of_file(&folder.join(file), reading)?,
        };
        Ok(policy.inheriting(match &extend.given {
            Some(given) => given.put_on(base).map_err(|host| no_rule(&host))?,
            None => base,
        }))
    })
}

fn no_rule(host: &HostPattern) -> CliError {
    CliError::new(format!("what the policy extends has no rule for `{host}`, which `hosts` names"))
        .hint("`chiton policy presets NAME` shows the rules of a preset")
}

fn of_preset(preset: Preset) -> Result<Policy, CliError> {
    // A test of every preset holds this.
    Policy::parse(preset.text())
        .map_err(|_| CliError::new(format!("the preset `{}` does not load", preset.as_str())))
}

fn of_file(file: &Path, reading: &mut Reading) -> Result<Policy, CliError> {
    let shown = file.display();
    let path = file.canonicalize().map_err(|error| {
        CliError::new(format!("cannot read `{shown}`, which the policy extends: {error}"))
            .hint("a file in `extends` is relative to the document that names it")
    })?;
    if reading.above.contains(&path) || reading.above.len() >= DEEPEST || reading.files.len() >= MOST {
        let said =
            format!("`{shown}` extends itself, is {DEEPEST} files deep, or is one of over {MOST} files");
        return Err(CliError::new(said));
    }
    let text = read(&path)?;
    let policy = Policy::parse(&text).map_err(|diagnostics| {
        output::diagnostics(&diagnostics, &shown.to_string());
        CliError::new(format!("`{shown}`, which the policy extends, has errors"))
    })?;
    reading.files.push(path.clone());
    reading.above.push(path.clone());
    let resolved = resolved(policy, path.parent().unwrap_or(Path::new("/")), reading);
    reading.above.pop();
    resolved
}
