//! `exec://name`: a command of the operator's, whose output is the value.
//!
//! The policy names it; which program that is, and with which words, only `config.toml` says. There is no shell, the
//! environment has what is named and no more, and nothing is read from the gateway. What the command writes to standard
//! output is the value, and stands in no error; of its standard error the first line is told where it fails.

mod error;
mod run;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use async_trait::async_trait;
use chiton_secret::{Scheme, SecretRef};

use crate::{Fault, Fetched, Lifetime, SecretStore, trim_line_end};

pub use error::ExecError;

/// `[exec.NAME]` of `config.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCommand {
    /// The program, by its whole path.
    pub program: PathBuf,
    /// Its words.
    pub arguments: Vec<String>,
    /// Variables of the gateway's environment that it gets besides.
    pub variables: Vec<String>,
    /// It has so long, and is ended then.
    pub timeout: Duration,
    /// It is run again after this time.
    pub refresh: Duration,
    /// So long the last value is used where it fails.
    pub keep: Duration,
}

/// The commands, by name.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    commands: BTreeMap<String, ExecCommand>,
    /// Of the gateway's environment.
    get: Option<fn(&str) -> Option<OsString>>,
}

impl Commands {
    /// These.
    #[must_use]
    pub const fn new(commands: BTreeMap<String, ExecCommand>) -> Self {
        Self { commands, get: None }
    }

    /// What they are.
    #[must_use]
    pub const fn settings(&self) -> &BTreeMap<String, ExecCommand> {
        &self.commands
    }

    #[cfg(test)]
    pub(crate) const fn with_environment(mut self, get: fn(&str) -> Option<OsString>) -> Self {
        self.get = Some(get);
        self
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.get.map_or_else(|| std::env::var_os(name), |get| get(name))
    }
}

#[async_trait]
impl SecretStore for Commands {
    fn scheme(&self) -> Scheme {
        Scheme::Exec
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let name = reference.locator();
        let command = self.commands.get(name).ok_or_else(|| ExecError::NotConfigured(name.to_owned()))?;
        let names =
            ["HOME", "USER", "LOGNAME"].into_iter().chain(command.variables.iter().map(String::as_str));
        let variables: Vec<_> = names.filter_map(|name| Some((name, self.variable(name)?))).collect();
        let value = trim_line_end(run::output(command, &variables).await?);
        let ExecCommand { refresh, keep, .. } = *command;
        let lifetime = Some(Lifetime { refresh: refresh.min(keep), valid: keep });
        Ok(Fetched { value, hosts: None, written: None, lifetime, warning: None })
    }
}
