//! `chiton rm`: remove sandboxes that have ended.

use clap::Args;
use serde_json::json;

use crate::{client::sandbox_target, context::Context, error::CliError, text::Safe, verbs::each};

/// Remove sandboxes.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Their names
    #[arg(required = true)]
    sandboxes: Vec<String>,
    /// Also one that runs: it is killed
    #[arg(short, long)]
    force: bool,
}

impl RmArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let rest = if self.force { "?force=true" } else { "" };
        each(&self.sandboxes, |name| {
            client.command("DELETE", &sandbox_target(name, rest)?, None)?;
            if context.output.json {
                return context.output.object(&json!({ "removed": name }));
            }
            context.output.line(Safe::line(name).to_string())
        })
    }
}
