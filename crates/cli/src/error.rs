//! What the command line says when it cannot go on: one line that says what and why, a hint that says what to
//! do next, and the exit status. Every other error of the program ends here.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::text::Safe;

/// The end of a command that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    message: String,
    hint: Option<String>,
    status: Status,
}

/// An exit status that is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// What was asked for is not there, or was refused: 1.
    Failed,
    /// The policy or the argument is not valid: 2.
    Invalid,
    /// Chiton itself failed before the command started: 125.
    Chiton,
    /// As the gateway or the program said.
    Code(u8),
}

impl Status {
    /// As a number.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Chiton => 125,
            Self::Code(code) => code,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

impl CliError {
    /// An error with status 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, status: Status::Failed }
    }

    /// With what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit status.
    #[must_use]
    pub(crate) const fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The exit status.
    #[must_use]
    pub(crate) const fn exit(&self) -> Status {
        self.status
    }

    /// Says it on standard error. Where nobody can be told, the exit status still tells.
    pub(crate) fn say(&self) {
        let _ = io::stderr().lock().write_all(self.render().as_bytes());
    }

    /// The lines for standard error. What others wrote cannot steer the terminal.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        let mut lines = format!("error: {}\n", Safe::lines(&self.message));
        if let Some(hint) = &self.hint {
            lines.push_str(&format!("hint: {}\n", Safe::lines(hint)));
        }
        lines
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The exit status of a command that failed before the agent's program started is 125, whatever went wrong.
pub(crate) trait BeforeStart<T> {
    /// Turns the plain failure into 125, and keeps a status that says more.
    fn before_start(self) -> Result<T, CliError>;
}

impl<T> BeforeStart<T> for Result<T, CliError> {
    fn before_start(self) -> Self {
        self.map_err(|error| match error.status {
            Status::Failed | Status::Invalid => error.status(Status::Chiton),
            Status::Chiton | Status::Code(_) => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        let error = CliError::new("no sandbox is called `x\u{1b}[31m`").hint("chiton ps");
        assert_eq!(error.render(), "error: no sandbox is called `x\\u{1b}[31m`\nhint: chiton ps\n");
    }

    #[test]
    fn a_failure_before_the_start_is_125_unless_it_says_more() {
        let failed: Result<(), _> = Err(CliError::new("x"));
        assert_eq!(failed.before_start().unwrap_err().exit().code(), 125);
        let absent: Result<(), _> = Err(CliError::new("x").status(Status::Code(127)));
        assert_eq!(absent.before_start().unwrap_err().exit().code(), 127);
    }
}
