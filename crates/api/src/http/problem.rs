//! What an error looks like on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The content type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error, after RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// Which kind, for programs.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The HTTP status again.
    pub status: u16,
    /// One line, lower case: what happened, and why.
    pub detail: String,
    /// One line: what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What `run`, `exec` and `start` end with: 125, 126 or 127.
    pub exit_status: u8,
    /// `static_differs`: the fields of the static half that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<String>,
}

/// The kinds of errors: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request is not of the promised form.
    BadRequest,
    /// There is no such sandbox, secret or route.
    NotFound,
    /// Another sandbox has the name.
    NameInUse,
    /// The sandbox is not in a state in which this can be done.
    WrongState,
    /// Known, but not there yet.
    NotSupported,
    /// The policy does not load; `detail` is the first error.
    PolicyInvalid,
    /// The static half of an applied policy is not the sandbox's.
    StaticDiffers,
    /// A secret reference does not resolve, or the local store does not open.
    Secret,
    /// The workspace or another path cannot be used.
    Path,
    /// `config.toml` does not load; what ran before runs on.
    Configuration,
    /// The audit log cannot be written, so nothing is started or applied.
    Audit,
    /// The driver, the supervisor or the proxy refused or failed.
    Driver,
    /// Our own fault.
    Internal,
}
