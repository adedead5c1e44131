//! `chiton start`: run a sandbox that has ended again, from its record.

use chiton_api::http::{Sandbox, StartRequest};
use clap::Args;
use jiff::Timestamp;

use crate::{
    attach::{Attended, attend_main, tell_limit, tell_refusals, wished},
    client::{encode, sandbox_target},
    context::Context,
    error::{BeforeStart, CliError, Status},
};

/// Start a sandbox that has ended, again.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Its name
    sandbox: String,
    /// Connect to its program
    #[arg(short, long)]
    attach: bool,
}

impl StartArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let session = wished(self.attach);
        let target = sandbox_target(&self.sandbox, "/start")?;
        let request = StartRequest { session: session.clone() };
        if self.attach {
            let client = context.client().before_start()?;
            let since = Timestamp::now();
            let upgraded = client.session(&target, Some(encode(&request)?)).before_start()?;
            let identity = upgraded.identity.clone();
            let Attended { status, refused } = attend_main(&client, upgraded, &session, &self.sandbox)?;
            tell_refusals(&client, refused, (&self.sandbox, identity.as_deref()), since);
            tell_limit(&client, &self.sandbox, status);
            return Ok(status);
        }
        let sandbox: Sandbox = context.client()?.send("POST", &target, &request)?;
        if context.output.json {
            context.output.document(&sandbox)?;
        } else {
            context.output.line(sandbox.name.as_str())?;
        }
        Ok(Status::Code(0))
    }
}
