//! `chiton exec`: a further program in a running sandbox, under the same locks.

use std::path::PathBuf;

use chiton_api::http::{ExecRequest, Session};
use clap::Args;

use crate::{
    attach::{attend, by_our_own_end, wished},
    client::{encode, sandbox_target},
    context::{Context, home},
    environment::{Assignment, collect},
    error::{BeforeStart, CliError, Status},
    outside::explain_absence,
};

/// Run a further command in a running sandbox.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// A variable for the command: K=V, or K to pass the caller's on (repeatable)
    #[arg(short, long, value_name = "K[=V]")]
    env: Vec<Assignment>,
    /// The folder inside that it starts in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// For those who type -it: standard input and a terminal are taken where there are some
    #[arg(short, hide = true)]
    interactive: bool,
    /// See -i
    #[arg(short, hide = true)]
    tty: bool,
    /// The sandbox's name
    sandbox: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl ExecArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let Session { terminal, stdin, .. } = wished(true);
        let program = self.command.first().cloned().unwrap_or_default();
        let request =
            ExecRequest { argv: self.command, env: collect(self.env), cwd: self.workdir, terminal, stdin };
        let target = sandbox_target(&self.sandbox, "/exec").before_start()?;
        let client = context.client().before_start()?;
        let upgraded = client.session(&target, Some(encode(&request)?)).before_start();
        let upgraded = upgraded.map_err(|error| match home() {
            Ok(home) => explain_absence(error, &program, &home),
            Err(_) => error,
        })?;
        Ok(attend(upgraded, &Session { attach: true, terminal, stdin }, &self.sandbox, by_our_own_end())?
            .status)
    }
}
