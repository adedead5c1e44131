//! The gateway itself.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::name::DriverName;

/// `GET /v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// Of this API: 1.
    pub api: u32,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it serves.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// Where it keeps things.
    pub folders: Folders,
    /// Sandboxes that run.
    pub running: u64,
    /// The drivers that this program has.
    pub drivers: Vec<DriverStatus>,
    /// Whether decisions can be written; where not, nothing new is started or applied.
    pub audit: AuditHealth,
}

/// Our own folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Folders {
    /// Database, audit log, secrets.
    #[schema(value_type = String)]
    pub state: PathBuf,
    /// Sockets.
    #[schema(value_type = String)]
    pub runtime: PathBuf,
    /// The configuration file in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub config: Option<PathBuf>,
}

/// A driver, and which promises it keeps here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverStatus {
    /// Its name.
    pub name: DriverName,
    /// Denied paths in a live workspace, judged at the lookup.
    pub live_denied_paths: bool,
    /// Every connection is captured without a proxy variable.
    pub transparent_capture: bool,
    /// `static.resources`.
    pub resources: bool,
    /// `static.gpu`, where the engine is new enough and there are devices: a start says by name what is missing.
    pub gpu: bool,
    /// A sandbox's system is an image's, and one must be named.
    #[serde(default)]
    pub images: bool,
}

/// `POST /v1/drivers/{driver}/examine`: every layer, tried where this driver's sandboxes run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Examination {
    /// In the order in which a sandbox needs them.
    pub checks: Vec<LayerCheck>,
}

/// `POST /v1/drivers/{driver}/pull`: bring an image where it is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// Its name, with a tag or a digest; without either, `latest`.
    pub image: String,
}

/// A line of the answer to [`PullRequest`]: the last says that it is over, or why it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullLine {
    /// How far it is.
    Step(PullStep),
    /// The image is here.
    Done,
    /// It is not, one line.
    Failed(String),
}

/// How far one part of an image is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullStep {
    /// Which part; none: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// What happens to it, in the engine's words.
    pub status: String,
    /// Bytes so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// One layer of an examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerCheck {
    /// Which layer.
    pub layer: String,
    /// Whether it works here.
    pub works: bool,
    /// Whether a sandbox can start without it.
    pub required: bool,
    /// One line: what was found.
    pub found: String,
    /// The command that mends it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Whether the audit log can be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditHealth {
    /// It can.
    pub writable: bool,
    /// Events in the chain.
    pub events: u64,
    /// What the system said, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// `POST /v1/stop`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopGateway {
    /// Stop every sandbox first.
    #[serde(default)]
    pub all: bool,
}

/// The gateway ends once this was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stopping {
    /// Sandboxes that run on.
    pub running: u64,
    /// Sandboxes that were stopped.
    pub stopped: u64,
}
