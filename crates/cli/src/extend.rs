//! A policy with what it extends, flattened into one document: that is what is stored and travels.

use std::path::{Path, PathBuf};

use chiton_policy::{
    Diagnostics, HostPattern, Part, Policy, faults_between,
    model::{Base, Given, Preset},
};

use crate::{error::CliError, output, source::read, text::Safe};

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
    /// What it was made of.
    parts: Vec<Part>,
}

impl Flattened {
    /// What is wrong between what it was made of, each with the name of the document where it stands.
    pub(crate) fn faults(&self) -> Vec<(String, Diagnostics)> {
        let found = faults_between(&self.parts).into_iter();
        found.filter_map(|(part, faults)| Some((self.parts.get(part)?.name.clone(), faults))).collect()
    }
}

/// Reads everything that a policy extends; none where that is nothing, or it does not load (which its own check says
/// better). Files are relative to the document's folder.
pub(crate) fn flattened(text: &str, name: &Path) -> Result<Option<Flattened>, CliError> {
    let Ok(policy) = Policy::parse(text) else { return Ok(None) };
    if policy.extends.is_empty() {
        return Ok(None);
    }
    let own = Read { name: shown(name), text: text.to_owned(), policy, given: Vec::new() };
    let mut reading = Reading::default();
    let text = resolved(own, name.parent().unwrap_or(Path::new("")), &mut reading)?.to_yaml();
    Ok(Some(Flattened { text, files: reading.files, parts: reading.parts }))
}

/// As it stands in messages.
fn shown(file: &Path) -> String {
    Safe::line(&file.display().to_string()).to_string()
}

/// What is being read, the outermost first, and what was read so far.
#[derive(Default)]
struct Reading {
    above: Vec<PathBuf>,
    files: Vec<PathBuf>,
    parts: Vec<Part>,
}

/// A document that was read.
struct Read {
    name: String,
    text: String,
    policy: Policy,
    /// What is put on its rules, and on those of all that it extends.
    given: Vec<Given>,
}

fn resolved(document: Read, folder: &Path, reading: &mut Reading) -> Result<Policy, CliError> {
    let Read { name, text, policy, given } = document;
    reading.parts.push(Part { name, text, given: given.clone() });
    let extends = policy.extends.clone();
    extends.iter().try_fold(policy, |policy, extend| {
        let given = extend.given.iter().chain(&given).cloned().collect();
        let base = match &extend.base {
            Base::Preset(preset) => resolved(of_preset(*preset, given)?, folder, reading)?,
            Base::File(file) => of_file(&folder.join(file), given, reading)?,
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

fn of_preset(preset: Preset, given: Vec<Given>) -> Result<Read, CliError> {
    // A test of every preset holds this.
    let policy = Policy::parse(preset.text())
        .map_err(|_| CliError::new(format!("the preset `{}` does not load", preset.as_str())))?;
    Ok(Read { name: preset.as_str().to_owned(), text: preset.text().to_owned(), policy, given })
}

fn of_file(file: &Path, given: Vec<Given>, reading: &mut Reading) -> Result<Policy, CliError> {
    let shown = shown(file);
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
        output::diagnostics(&diagnostics, &shown);
        CliError::new(format!("`{shown}`, which the policy extends, has errors"))
    })?;
    reading.files.push(path.clone());
    reading.above.push(path.clone());
    let document = Read { name: shown, text, policy, given };
    let resolved = resolved(document, path.parent().unwrap_or(Path::new("/")), reading);
    reading.above.pop();
    resolved
}
