//! Policies of running sandboxes.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `PUT …/policy`: replace the dynamic half.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The flattened policy document. Its static half is absent, or the sandbox's own.
    pub policy: String,
    /// Also with another static half: the sandbox is stopped and made again under the same name, with its
    /// workspace, and its program is started again, detached.
    #[serde(default)]
    pub recreate: bool,
    /// The file that it is from, which takes the place of the one before when the sandbox is made again. None:
    /// that one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy_file: Option<PathBuf>,
}

/// The new revision is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyReply {
    /// Its number.
    pub revision: u64,
    /// Its digest.
    pub digest: String,
    /// Connections, streams and downloads that it no longer allows and that were cut.
    pub cut: u64,
    /// Whether the sandbox was made again.
    pub recreated: bool,
}

/// `GET …/policy`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyReply {
    /// The document in force: the sandbox's static half with the last enforced dynamic half.
    pub policy: String,
    /// The revision in force.
    pub revision: u64,
    /// Its digest.
    pub digest: String,
    /// Every revision that was asked for, oldest first.
    pub history: Vec<RevisionInfo>,
}

/// One revision's record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevisionInfo {
    /// Its number.
    pub revision: u64,
    /// Its digest.
    pub digest: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// What became of it.
    pub push: Push,
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Push {
    /// Stored; the proxy has not answered.
    Pending,
    /// The proxy enforced it.
    Enforced,
    /// The proxy refused it or did not answer; the one before stayed.
    Failed,
}
