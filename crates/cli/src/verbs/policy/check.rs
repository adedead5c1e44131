//! `chiton policy check`: everything that is wrong with a document, at once, each with its place.

use std::path::PathBuf;

use chiton_policy::{Policy, Severity, unsupported};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CliError, Status},
    output::{Output, Tone, diagnostics},
    source::{LOCAL_POLICY, Source},
    text::Safe,
    words,
};

/// Check policies; exits with 2 when one has errors.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The policies
    #[arg(value_name = "FILE", default_value = LOCAL_POLICY)]
    files: Vec<PathBuf>,
}

impl CheckArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let mut worst = Status::Code(0);
        let mut documents = Vec::new();
        for file in &self.files {
            let checked = Checked::of(file)?;
            if !checked.valid {
                worst = Status::Invalid;
            }
            if context.output.json {
                documents.push(checked.json());
            } else {
                checked.print(context.output)?;
            }
        }
        if context.output.json {
            context.output.document(&documents)?;
        }
        Ok(worst)
    }
}

struct Checked {
    name: String,
    valid: bool,
    diagnostics: chiton_policy::Diagnostics,
    unsupported: Vec<String>,
}

impl Checked {
    fn of(file: &std::path::Path) -> Result<Self, CliError> {
        let name = file.display().to_string();
        let source = Source::named(file).map_err(|error| error.status(Status::Invalid))?;
        // Its own faults with their places in it; then whether all of it agrees.
        let whole = Policy::parse(source.written()).and_then(|own| {
            let whole = Policy::parse(source.text())?;
            Ok(Policy { warnings: own.warnings, ..whole })
        });
        Ok(match whole {
            Ok(policy) => {
                let unsupported = unsupported(&policy).iter().map(|what| what.field().to_owned()).collect();
                Self { name, valid: true, diagnostics: policy.warnings, unsupported }
            }
            Err(diagnostics) => Self { name, valid: false, diagnostics, unsupported: Vec::new() },
        })
    }

    fn json(&self) -> Value {
        let diagnostics: Vec<_> = self.diagnostics.iter().collect();
        json!({
            "file": self.name,
            "valid": self.valid,
            "diagnostics": diagnostics,
            "not_supported_yet": self.unsupported,
        })
    }

    fn print(&self, output: Output) -> Result<(), CliError> {
        diagnostics(&self.diagnostics, &self.name);
        let count = |severity| self.diagnostics.iter().filter(|d| d.severity == severity).count() as u64;
        let (word, tone) = if self.valid { ("ok", Tone::Good) } else { ("not valid", Tone::Bad) };
        let counts = [
            (count(Severity::Error), "error"),
            (count(Severity::Warning), "warning"),
            (count(Severity::Note), "note"),
        ];
        let counts: Vec<_> =
            counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, noun)| words::plural(n, noun)).collect();
        let counts = if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
        output.line(format!("{}: {}{counts}", Safe::line(&self.name), output.toned(word, tone)))?;
        if self.unsupported.is_empty() {
            return Ok(());
        }
        output.line(format!(
            "  `run` and `apply` refuse it: not supported yet: {}",
            self.unsupported.join(", ")
        ))
    }
}
