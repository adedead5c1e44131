//! `chiton policy`: checked, explained and compared here, without a gateway; shown and applied through it.

mod apply;
mod check;
mod diff;
mod explain;

use std::process::ExitCode;

use chiton_api::http::PolicyReply;
use chiton_policy::model::Preset;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{client::sandbox_target, context::Context, error::CliError, text::Safe};

/// Policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Show(ShowArgs),
    Apply(apply::ApplyArgs),
    Diff(diff::DiffArgs),
    Schema(SchemaArgs),
    Presets(PresetsArgs),
}

/// Show the policy that a sandbox is under.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The sandbox's name
    sandbox: String,
}

/// List what `extends` knows by name, or write one of it.
#[derive(Debug, Args)]
pub(crate) struct PresetsArgs {
    /// The preset to write, as a policy
    name: Option<String>,
}

/// Write the JSON Schema of the policy language.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {}

impl PolicyCommand {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Check(args) => args.run(context).map(Into::into),
            Self::Explain(args) => args.run(context).map(Into::into),
            Self::Show(args) => show(&args, context).map(|()| ExitCode::SUCCESS),
            Self::Diff(args) => args.run(context).map(Into::into),
            Self::Schema(_) => context.output.document(&chiton_policy::schema()).map(|()| ExitCode::SUCCESS),
            Self::Presets(args) => presets(&args, context).map(|()| ExitCode::SUCCESS),
            Self::Apply(args) => args.run(context).map(|()| ExitCode::SUCCESS),
        }
    }
}

fn show(args: &ShowArgs, context: &Context) -> Result<(), CliError> {
    let reply: PolicyReply = context.client()?.get(&sandbox_target(&args.sandbox, "/policy")?)?;
    if context.output.json {
        return context.output.document(&reply);
    }
    context.output.line(format!("# revision {}, {}", reply.revision, reply.digest))?;
    context.output.line(Safe::lines(reply.policy.trim_end()).to_string())
}

fn presets(args: &PresetsArgs, context: &Context) -> Result<(), CliError> {
    let Some(name) = &args.name else {
        if context.output.json {
            let all = Preset::ALL.map(|preset| json!({ "name": preset.as_str(), "opens": preset.summary() }));
            return context.output.document(&all);
        }
        for preset in Preset::ALL {
            context.output.line(format!("{:<18} {}", preset.as_str(), preset.summary()))?;
        }
        return Ok(());
    };
    let Some(preset) = Preset::ALL.into_iter().find(|preset| preset.as_str() == name) else {
        return Err(CliError::new(format!("there is no preset `{name}`")).hint("chiton policy presets"));
    };
    context.output.line(preset.text().trim_end())
}
