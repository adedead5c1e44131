//! `chiton stop`: SIGTERM to the program, and after the grace the end of everything inside.

use chiton_api::http::{Sandbox, StopRequest};
use clap::Args;

use crate::{client::sandbox_target, context::Context, error::CliError, progress::Progress, verbs::each};

/// Stop sandboxes.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Their names
    #[arg(required = true)]
    sandboxes: Vec<String>,
    /// Seconds between SIGTERM to the program and SIGKILL to everything
    #[arg(short, long, default_value_t = 10)]
    time: u32,
}

impl StopArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let request = StopRequest { grace_ms: u64::from(self.time) * 1000 };
        each(&self.sandboxes, |name| {
            let progress = Progress::of(&format!("stopping {name}"));
            let sandbox: Sandbox = client.send("POST", &sandbox_target(name, "/stop")?, &request)?;
            drop(progress);
            if context.output.json {
                return context.output.object(&sandbox);
            }
            context.output.line(sandbox.name.as_str())
        })
    }
}
