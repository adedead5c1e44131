//! The audit log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /v1/audit`. Every filter that is given must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Of this sandbox, by the name that the event carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Of this layer: `filesystem`, `process`, `network`, `llm`, `credential`, `policy`, `lifecycle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// With this decision: `allow`, `deny`, `audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// With this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    /// The last so many that match (and what follows, with `follow`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on with what comes.
    #[serde(default)]
    pub follow: bool,
}

/// `POST /v1/audit/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReply {
    /// Events in the chain that hold.
    pub events: u64,
    /// Events that were written by a proxy or a supervisor and are not chained yet.
    pub unchained: u64,
    /// The first event that was changed, removed or reordered: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
