//! Where a policy comes from: `-p`, else `./chiton.yaml`, else the built-in one.

use std::path::{Path, PathBuf};

use chiton_policy::{Diagnostics, EnvEntry, Policy, Severity};

use crate::{
    environment::Assignment,
    error::CliError,
    extend::{self, Flattened},
    output, words,
};

/// The policy file of a folder.
pub(crate) const LOCAL_POLICY: &str = "chiton.yaml";

/// No policy is longer.
const MAX_POLICY: u64 = 1 << 20;

/// The workspace and `/tmp`; no network.
const BUILT_IN: &str = "\
version: 1
static:
  filesystem:
    allowed_paths: [/workspace, /tmp]
dynamic: {}
";

/// A policy's text and where it is from.
#[derive(Debug)]
pub(crate) struct Source {
    written: String,
    /// With what it extends, where it extends something.
    flattened: Option<Flattened>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Named(PathBuf),
    Found(PathBuf),
    BuiltIn,
}

impl Source {
    /// The policy for a `run`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, CliError> {
        if let Some(path) = named {
            return Self::named(path);
        }
        let local = Path::new(LOCAL_POLICY);
        match local.symlink_metadata() {
            Ok(_) => Self::of(read(local)?, Place::Found(local.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::of(BUILT_IN.to_owned(), Place::BuiltIn)
            }
            Err(error) => Err(CliError::new(format!("cannot read `{LOCAL_POLICY}`: {error}"))),
        }
    }

    /// A policy file that was named.
    pub(crate) fn named(path: &Path) -> Result<Self, CliError> {
        Self::of(read(path)?, Place::Named(path.to_owned()))
    }

    fn of(written: String, place: Place) -> Result<Self, CliError> {
        let name = match &place {
            Place::Named(path) | Place::Found(path) => path.clone(),
            Place::BuiltIn => PathBuf::new(),
        };
        let flattened = extend::flattened(&written, &name)?;
        Ok(Self { written, flattened, place })
    }

    /// The document as it was written, without what it extends.
    #[must_use]
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The document, with what it extends.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        self.flattened.as_ref().map_or(&self.written, |flattened| &flattened.text)
    }

    /// An error where a file that it extends lies in the workspace: the policy's own file is protected inside, these
    /// are not.
    pub(crate) fn keeps_out_of(&self, workspace: &Path) -> Result<(), CliError> {
        let mut files = self.flattened.iter().flat_map(|flattened| &flattened.files);
        let Some(file) = files.find(|file| file.starts_with(workspace)) else { return Ok(()) };
        let said = format!(
            "`{}`, which the policy extends, lies in the workspace, where the agent could change it",
            file.display()
        );
        Err(CliError::new(said).hint("keep it outside of the workspace, or copy its rules into the policy"))
    }

    /// The file, absolute.
    #[must_use]
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Named(path) | Place::Found(path) => path.canonicalize().ok(),
            Place::BuiltIn => None,
        }
    }

    /// The policy, or everything that is wrong with it, by the name of the document where it stands.
    pub(crate) fn parsed(&self) -> Result<Policy, Vec<(String, Diagnostics)>> {
        Policy::parse(self.text()).map_err(|diagnostics| {
            let faults = self.flattened.as_ref().map(Flattened::faults).unwrap_or_default();
            if faults.is_empty() { vec![(self.name(), diagnostics)] } else { faults }
        })
    }

    /// The policy, or everything that is wrong with it on standard error and one line as the error.
    pub(crate) fn checked(&self) -> Result<Policy, CliError> {
        self.parsed().map_err(|faults| {
            let name = self.name();
            faults.iter().for_each(|(file, diagnostics)| output::diagnostics(diagnostics, file));
            let all = faults.iter().flat_map(|(_, diagnostics)| diagnostics.iter());
            let errors = all.filter(|d| d.severity == Severity::Error).count();
            CliError::new(format!("the policy `{name}` has {}", words::plural(errors as u64, "error")))
                .hint(format!("chiton policy check {name}"))
        })
    }

    fn name(&self) -> String {
        match &self.place {
            Place::Named(path) | Place::Found(path) if self.flattened.is_some() => {
                format!("{} with what it extends", path.display())
            }
            Place::Named(path) | Place::Found(path) => path.display().to_string(),
            Place::BuiltIn => "built-in".to_owned(),
        }
    }

    /// What a user who named no policy is told.
    #[must_use]
    pub(crate) fn said(&self) -> Option<String> {
        match &self.place {
            Place::Named(_) => None,
            Place::Found(path) => Some(format!("chiton: policy ./{}", path.display())),
            Place::BuiltIn => Some(
                "chiton: built-in policy: /workspace and /tmp, no network (chiton init writes your own)"
                    .into(),
            ),
        }
    }
}

/// Reads a policy file.
pub(crate) fn read(path: &Path) -> Result<String, CliError> {
    use std::io::Read;

    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(format!("cannot read the policy `{}`: {error}", path.display()))
            .hint("chiton init writes one")
    };
    let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
    let mut text = String::new();
    file.take(MAX_POLICY + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
    if text.len() as u64 > MAX_POLICY {
        return Err(failed(&"it is longer than 1 MiB"));
    }
    Ok(text)
}

/// The variables that a policy passes through by name.
pub(crate) fn passed_through(policy: &Policy) -> Vec<Assignment> {
    let entries = policy.fixed.process.env.iter();
    let names = entries.filter_map(|entry| match entry {
        EnvEntry::Pass(name) => Some(Assignment::Pass(name.as_str().to_owned())),
        EnvEntry::Give { .. } => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_is_valid_and_opens_nothing() {
        let policy = Policy::parse(BUILT_IN).unwrap();
        assert!(policy.warnings.is_empty());
        assert!(policy.dynamic.http.is_empty());
    }
}
