//! The command line: one file a verb.
//!
//! *In*: arguments, the environment, a terminal or pipes. *Out*: what the promised interface says, and an exit
//! status. Whatever goes wrong ends as one line on standard error and a hint.

mod attach;
mod cli;
mod client;
mod context;
mod demo;
mod driver;
mod environment;
mod error;
mod extend;
mod output;
mod outside;
mod progress;
mod pull;
mod session;
mod source;
mod terminal;
mod text;
mod usage;
mod verbs;
mod words;

use std::{path::PathBuf, process::ExitCode};

use crate::{cli::Cli, context::Context};

/// Serves as the gateway in this process, with this `--config`; the concrete drivers are the caller's to name.
pub type Serve = fn(Option<PathBuf>) -> ExitCode;

/// Runs the command that the arguments ask for.
#[must_use]
pub fn run(serve: Serve) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::read(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, &arguments),
    };
    let context = Context::new(cli.common.json, cli.common.config);
    match cli.verb.run(&context, serve) {
        Ok(status) => status,
        Err(error) => {
            terminal::restore();
            error.say();
            error.exit().into()
        }
    }
}
