//! `chiton policy diff`: what changes in meaning from one policy to another.

use std::path::PathBuf;

use chiton_policy::{Change, Effect, diff};
use clap::Args;

use crate::{
    context::Context,
    error::{CliError, Status},
    output::{Output, Tone},
    source::Source,
    text::Safe,
};

/// Show what changes, in meaning, from one policy to another.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The old policy
    old: PathBuf,
    /// The new policy
    new: PathBuf,
}

impl DiffArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let old = Source::named(&self.old)?.checked()?;
        let new = Source::named(&self.new)?.checked()?;
        let changes = diff(&old, &new);
        let output = context.output;
        if output.json {
            output.document(&changes)?;
        } else if changes.fixed.is_empty() && changes.dynamic.is_empty() {
            output.line("no change")?;
        } else {
            half(output, "static (needs --recreate)", &changes.fixed)?;
            half(output, "dynamic (can be applied while it runs)", &changes.dynamic)?;
        }
        Ok(Status::Code(0))
    }
}

fn half(output: Output, title: &str, changes: &[Change]) -> Result<(), CliError> {
    if changes.is_empty() {
        return Ok(());
    }
    output.line(title)?;
    for change in changes {
        let (word, tone) = match change.effect {
            Effect::Widened => ("wider   ", Tone::Bad),
            Effect::Narrowed => ("narrower", Tone::Good),
            Effect::Changed => ("changed ", Tone::Plain),
        };
        output.line(format!("  {}  {}", output.toned(word, tone), Safe::line(&change.field)))?;
        for (sign, value) in [("-", &change.before), ("+", &change.after)] {
            let lines = value.as_deref().unwrap_or_default().lines();
            for line in lines {
                output.line(format!("      {sign} {}", Safe::line(line)))?;
            }
        }
    }
    Ok(())
}
