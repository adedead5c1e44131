//! How a command ended.

use std::{os::unix::process::ExitStatusExt, process::Output};

/// Exit status and output.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status; 128+N for a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    pub(crate) fn new(output: &Output) -> Self {
        let status = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            status: status.unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Status 0.
    ///
    /// # Panics
    /// On any other.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_status(0)
    }

    /// This status.
    ///
    /// # Panics
    /// On any other.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}
