//! `chiton policy check`: everything that is wrong with a document, at once, each with its place.

use std::path::PathBuf;

use chiton_policy::{Diagnostic, Policy, Severity, unsupported};
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
    /// By the document where they stand: its own, or one that it extends.
    diagnostics: Vec<(String, chiton_policy::Diagnostics)>,
    unsupported: Vec<String>,
}

impl Checked {
    fn of(file: &std::path::Path) -> Result<Self, CliError> {
        let name = file.display().to_string();
        let source = Source::named(file).map_err(|error| error.status(Status::Invalid))?;
        // Its own faults with their places in it; then whether all of it agrees.
        let own = Policy::parse(source.written()).map_err(|faults| vec![(name.clone(), faults)]);
        Ok(match own.and_then(|own| Ok((own.warnings, source.parsed()?))) {
            Ok((warnings, policy)) => {
                let unsupported = unsupported(&policy).iter().map(|what| what.field().to_owned()).collect();
                let diagnostics = vec![(name.clone(), warnings)];
                Self { name, valid: true, diagnostics, unsupported }
            }
            Err(diagnostics) => Self { name, valid: false, diagnostics, unsupported: Vec::new() },
        })
    }

    fn all(&self) -> impl Iterator<Item = (&String, &Diagnostic)> {
        self.diagnostics.iter().flat_map(|(file, found)| found.iter().map(move |item| (file, item)))
    }

    fn json(&self) -> Value {
        let told = |(file, item): (&String, &Diagnostic)| {
            let mut told = json!(item);
            // Of itself it is not said.
            if let (Some(fields), true) = (told.as_object_mut(), *file != self.name) {
                fields.insert("file".to_owned(), json!(file));
            }
            told
        };
        let diagnostics: Vec<_> = self.all().map(told).collect();
        json!({
            "file": self.name,
            "valid": self.valid,
            "diagnostics": diagnostics,
            "not_supported_yet": self.unsupported,
        })
    }

    fn print(&self, output: Output) -> Result<(), CliError> {
        self.diagnostics.iter().for_each(|(file, found)| diagnostics(found, file));
        let count = |severity| self.all().filter(|(_, item)| item.severity == severity).count() as u64;
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
