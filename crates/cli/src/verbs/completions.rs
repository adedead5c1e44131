//! `chiton completions` and `chiton man`: made from the command line's own description.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, context::Context, error::CliError};

/// Write a shell's completion script.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Write the manual page.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {}

impl CompletionsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "chiton", &mut script);
        context.output.raw(&script)
    }
}

impl ManArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        context.output.raw(&page)
    }
}
