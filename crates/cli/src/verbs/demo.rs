//! `chiton demo`, and the agent of its tour.

use clap::Args;

use crate::{
    context::Context,
    demo,
    error::{CliError, Status},
};

/// A tour on this machine alone: what an agent in a sandbox may and may not do.
///
/// It needs no network, no keys and no root, touches nothing of yours, and leaves nothing behind.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

/// The agent of the tour.
#[derive(Debug, Args)]
pub(crate) struct DemoAgentArgs {
    /// What to try
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    attempt: Vec<String>,
}

impl DemoArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        demo::run(context)
    }
}

impl DemoAgentArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        demo::agent::run(context.output, &self.attempt)
    }
}
