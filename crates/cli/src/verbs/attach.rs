//! `chiton attach`: a session of a sandbox's running program.

use clap::Args;

use crate::{
    attach::{attend, by_the_gateway, wished},
    client::sandbox_target,
    context::Context,
    error::{BeforeStart, CliError, Status},
};

/// Connect to a sandbox's running program; ctrl-p ctrl-q leaves it running.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The sandbox's name
    sandbox: String,
}

impl AttachArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let target = sandbox_target(&self.sandbox, "/attach").before_start()?;
        let client = context.client().before_start()?;
        let upgraded = client.session(&target, None).before_start()?;
        let aside = by_the_gateway(&client, &upgraded, &self.sandbox);
        Ok(attend(upgraded, &wished(true), &self.sandbox, aside)?.status)
    }
}
