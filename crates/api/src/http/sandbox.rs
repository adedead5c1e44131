//! Sandboxes: what is asked, and what is told.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    control::{EnforcementReport, LimitsHit, TerminalSize},
    name::{DriverName, SandboxId, SandboxName},
};

/// Where a sandbox stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being made; no agent runs yet.
    Creating,
    /// Its main program runs.
    Running,
    /// Being ended.
    Stopping,
    /// Ended; can be started again.
    Stopped,
    /// Gone; only its record is left.
    Removed,
    /// Ended by a fault, which `reason` names; can be started again or removed.
    Failed,
}

impl State {
    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::Failed => "failed",
        }
    }

    /// Whether something of it may run on the host.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Creating | Self::Running | Self::Stopping)
    }
}

/// How the caller wants to be connected to a main program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The request is upgraded to a session. Otherwise the program runs on its own (`-d`).
    #[serde(default)]
    pub attach: bool,
    /// A terminal of this size instead of pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Whether standard input is open; only with `attach`.
    #[serde(default)]
    pub stdin: bool,
}

/// `POST /v1/sandboxes`: make a sandbox and start its program.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// Its name; without one a free one is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SandboxName>,
    /// The host folder that is `/workspace` inside; absolute.
    #[schema(value_type = String)]
    pub workspace: PathBuf,
    /// The flattened policy document.
    pub policy: String,
    /// The file it came from, absolute; protected where it lies in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy_file: Option<PathBuf>,
    /// The caller's home, which `~/` means; absolute.
    #[schema(value_type = String)]
    pub home: PathBuf,
    /// Which driver; without one the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverName>,
    /// The image whose files are the sandbox's system; for drivers with images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The program and its arguments; at least one.
    pub argv: Vec<String>,
    /// Values for the variables that the policy passes through by name, and of `-e`. Kept with the
    /// sandbox's record (a file of mode 0600) so that it can be started again.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Paths of `-r`; absolute.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub extra_read_only: Vec<PathBuf>,
    /// How to be connected.
    #[serde(default)]
    pub session: Session,
    /// Remove it when it has ended.
    #[serde(default)]
    pub remove: bool,
}

/// `POST …/start`: start one that ended, again, from its record.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// How to be connected.
    #[serde(default)]
    pub session: Session,
}

/// `POST …/exec`: a further program in a running sandbox; always a session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments; at least one.
    pub argv: Vec<String>,
    /// Variables on top of the sandbox's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The working directory inside; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cwd: Option<PathBuf>,
    /// A terminal of this size instead of pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Whether standard input is open.
    #[serde(default)]
    pub stdin: bool,
}

/// `POST …/stop`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Between SIGTERM to the program and SIGKILL to everything, in milliseconds.
    #[serde(default = "default_grace")]
    pub grace_ms: u64,
}

/// Ten seconds, as Docker does.
const fn default_grace() -> u64 {
    10_000
}

impl Default for StopRequest {
    fn default() -> Self {
        Self { grace_ms: default_grace() }
    }
}

/// `POST …/signal`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The signal's number, 1 to 64.
    pub signal: i32,
}

/// `GET …/wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitReply {
    /// The program's own status, or 128+N for signal N; 125 where it ended by a fault of ours.
    pub exit_code: u8,
    /// Why, where it ended by a fault or ran into a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// One line for a person: why a sandbox failed or ended as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Reason(pub String);

/// A sandbox in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Its identity.
    #[schema(value_type = String)]
    pub id: SandboxId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: SandboxName,
    /// Where it stands.
    pub state: State,
    /// What runs it.
    pub driver: DriverName,
    /// The host folder that is `/workspace` inside.
    #[schema(value_type = String)]
    pub workspace: PathBuf,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When its program last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When its program last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// How its program last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why it failed, or which limit it ran into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The revision of its policy that is in force.
    pub revision: u64,
    /// The digest of that revision's text: `sha256:` and hexadecimal digits.
    pub policy_digest: String,
    /// Whether it goes when it has ended.
    pub remove: bool,
}

/// A sandbox, with everything that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SandboxDetail {
    /// As in a list.
    #[serde(flatten)]
    pub sandbox: Sandbox,
    /// The image whose files are its system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The policy file that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub policy_file: Option<PathBuf>,
    /// Paths of `-r`.
    #[schema(value_type = Vec<String>)]
    pub extra_read_only: Vec<PathBuf>,
    /// Names of the variables that were given; never their values.
    pub env: Vec<String>,
    /// What is enforced, as its supervisor reported it; none while nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<EnforcementReport>,
    /// Whether its proxy answers and enforces; without it there is no network inside.
    pub network: bool,
    /// Open connections of the agent.
    pub connections: u64,
    /// Refusals since it last started.
    pub denied: u64,
    /// Limits that it has run into while it runs; afterwards `reason` says it.
    #[serde(default)]
    pub limits: LimitsHit,
}

/// `GET …/denials`: what was refused since the sandbox last started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Denials {
    /// How many.
    #[serde(default)]
    pub count: u64,
    /// How many by layer (`network`, `filesystem`, …).
    #[serde(default)]
    pub layers: BTreeMap<String, u64>,
}

/// Query of `GET /v1/sandboxes`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Those that ended or failed, too.
    #[serde(default)]
    pub all: bool,
}

/// Query of `DELETE /v1/sandboxes/{sandbox}`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Also one that runs, which is killed.
    #[serde(default)]
    pub force: bool,
}

/// Query of `GET …/logs`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Go on until the program has ended.
    #[serde(default)]
    pub follow: bool,
}
