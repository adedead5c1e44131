//! `chiton wait`: until the program has ended; its exit status is ours.

use chiton_api::http::WaitReply;
use clap::Args;

use crate::{
    client::sandbox_target,
    context::Context,
    error::{BeforeStart, CliError, Status},
    output::note,
};

/// Wait until a sandbox's program has ended, and exit with its status.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Its name
    sandbox: String,
}

impl WaitArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let reply: WaitReply = context
            .client()
            .and_then(|client| client.get(&sandbox_target(&self.sandbox, "/wait")?))
            .before_start()?;
        if context.output.json {
            context.output.document(&reply)?;
        } else {
            context.output.line(reply.exit_code.to_string())?;
        }
        if let Some(reason) = reply.reason {
            note(format!("chiton: {}", reason.0));
        }
        Ok(Status::Code(reply.exit_code))
    }
}
