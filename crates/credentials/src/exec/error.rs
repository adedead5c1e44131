//! Why a command gives no value.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why a command gives no value. No message holds what it wrote to standard output.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is none of this name.
    #[error(
        "config.toml has no command of this name; add `[exec.{0}]` with `command = [\"/path/to/program\", …]`"
    )]
    NotConfigured(String),
    /// It cannot be started.
    #[error("`{}` cannot be run: {source}", .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could put their own program there.
    #[error("`{}` is not run, since everyone may write it; run `chmod o-w` on it", .0.display())]
    Writable(PathBuf),
    /// It said no.
    #[error("`{}` failed ({status}){}", .program.display(), told(.said))]
    Failed {
        /// Which.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The first line of its standard error.
        said: String,
    },
    /// It went on for too long.
    #[error("`{}` was not done within {} s, and was ended", .program.display(), .after.as_secs())]
    Slow {
        /// Which.
        program: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// It wrote too much.
    #[error("`{}` wrote more than 64 KiB, and was ended", .0.display())]
    TooMuch(PathBuf),
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl ExecError {
    /// Whether it is said for certain that there is no such value: the operator has no such command.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::NotConfigured(_))
    }
}
