//! What every verb has at hand: how to print, where our folders are, the gateway.

use std::path::{Path, PathBuf};

use chiton_api::paths::Paths;

use crate::{
    client::{self, Client},
    error::CliError,
    output::Output,
};

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Context {
    /// How to print.
    pub(crate) output: Output,
    config: Option<PathBuf>,
}

impl Context {
    /// As the options say.
    #[must_use]
    pub(crate) fn new(json: bool, config: Option<PathBuf>) -> Self {
        Self { output: Output::new(json), config }
    }

    /// Our folders.
    pub(crate) fn paths(&self) -> Result<Paths, CliError> {
        Paths::current(self.config.clone()).map_err(|e| CliError::new(e.to_string()))
    }

    /// The gateway; started where there is none.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        client::connect(&self.paths()?, self.config.as_deref())
    }

    /// The gateway, if one runs.
    pub(crate) fn running(&self) -> Result<Option<Client>, CliError> {
        client::connect_running(&self.paths()?)
    }

    /// `--config`.
    #[must_use]
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// The caller's home.
pub(crate) fn home() -> Result<PathBuf, CliError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    home.ok_or_else(|| CliError::new("HOME is not set to an absolute path").hint("export HOME=…"))
}
