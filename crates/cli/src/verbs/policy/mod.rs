//! `chiton policy`: checked, explained and compared here, without a gateway; shown and applied through it.

mod apply;
mod check;
mod diff;
mod explain;

use std::process::ExitCode;

use chiton_api::http::PolicyReply;
use clap::{Args, Subcommand};

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
}

/// Show the policy that a sandbox is under.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The sandbox's name
    sandbox: String,
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
