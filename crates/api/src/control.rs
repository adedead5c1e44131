//! The control links: driver → supervisor, and gateway → proxy.
//!
//! Each request on a link gets exactly one reply, in order. Descriptors travel beside a message by
//! `SCM_RIGHTS`, attached to the first byte of the message that names them. What a link may carry is
//! closed: an unknown variant ends the connection.

use std::{collections::BTreeMap, path::PathBuf};

use chiton_secret::{SecretRef, SecretValue};
use serde::{Deserialize, Serialize};

use crate::forward::ForwardProxy;

/// What a driver asks of the supervisor. `Create`, `View` and `ProxyAttached` come once and in this order;
/// `Launch { main: true }` is refused before all three were answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupervisorRequest {
    /// Make the namespaces and capture the network. Reply: `Created`, with the [`Listeners`]' descriptors.
    Create(CreateSandbox),
    /// Build the view of the filesystem and fix the locks. Reply: `Viewed`.
    View(Box<FilesystemPolicy>),
    /// The proxy accepts from the listeners. Reply: `Done`.
    ProxyAttached,
    /// Send the listeners again, for a proxy that replaces one that died. Reply: `Created`.
    Listeners,
    /// Start a program. Reply: `Launched`; with `attach` the connection is a session from then on.
    Launch(Launch),
    /// Turn this connection into a session of the main program. Reply: `Launched`.
    Attach,
    /// Answer when the main program has ended. Reply: `Exited`.
    Wait,
    /// Send the main program a signal. Reply: `Done`.
    Signal(i32),
    /// End everything: SIGTERM to the main program, SIGKILL to all after the grace. Reply: `Exited`.
    Stop {
        /// How long to wait between the two, in milliseconds.
        grace_ms: u64,
    },
    /// Where it stands. Reply: `Status`.
    Status,
}

/// The supervisor's answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupervisorReply {
    /// Descriptors of [`Listeners`] come with it.
    Created(Listeners),
    /// The view stands and this is what is enforced.
    Viewed(EnforcementReport),
    /// The program was started under all locks.
    Launched,
    /// The main program has ended.
    Exited(Exit),
    /// Where it stands.
    Status(SupervisorStatus),
    /// Done, nothing to tell.
    Done,
    /// Refused or failed; the sandbox is as before, or, before `Launch`, ends.
    Failed(Failure),
}

/// Which process failed to do what: one line for a person, and the exit status that `run` answers with.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened, why, and what to do next; lower case, one line.
    pub message: String,
    /// 125 for our own failures, 126 not executable, 127 not found.
    pub status: u8,
}

/// What a sandbox is made of before any policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateSandbox {
    /// The sandbox's name: its hostname, and `CHITON_SANDBOX` inside.
    pub name: String,
    /// Who the agent is. Never host uid 0.
    pub identity: Identity,
}

/// The agent's identity, inside and on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Rootless: the caller's own ids, mapped one to one.
    Caller,
    /// Rootless, from an image: the same, which inside are the ids of its `USER`.
    Image {
        /// `UID`, `UID:GID`, or names of the image's `/etc/passwd` and `/etc/group`.
        user: String,
    },
    /// As root: this host id, which is nobody else's; folders enter with their owner's ids mapped to it.
    Mapped {
        /// The uid and gid on the host, never 0.
        host_id: u32,
    },
}

/// The descriptors handed over, in this order. They were made inside the sandbox's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// Listening TCP sockets (IPv4 then IPv6) that every outgoing connection is turned to.
    pub tcp: u8,
    /// UDP sockets (IPv4 then IPv6) that every DNS question is turned to.
    pub dns_udp: u8,
    /// Listening TCP sockets (IPv4 then IPv6) for DNS over TCP.
    pub dns_tcp: u8,
    /// A netlink socket bound to the log group that tells of dropped packets.
    pub dropped: u8,
    /// A connected datagram socket on which the supervisor says whose connection it is ([`crate::owner`]).
    pub owners: u8,
}

/// The static half as it is enforced: the policy's text, and what it means on this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilesystemPolicy {
    /// The flattened policy document. The supervisor parses the same bytes as every other end.
    pub policy: String,
    /// The host folder that is `/workspace` inside, canonical. None: the policy does not list it.
    pub workspace: Option<PathBuf>,
    /// The caller's home, which `~/` in the policy means.
    pub home: PathBuf,
    /// Paths of `-r`, canonical, on top of the policy's `read_only_paths`.
    pub extra_read_only: Vec<PathBuf>,
    /// Chiton's own configuration, state and runtime folders: they never exist inside.
    pub own_folders: Vec<PathBuf>,
    /// The policy file in use, where it lies in the workspace: protected like `.git/config`.
    pub policy_file: Option<PathBuf>,
    /// Whether the system's folders are an image's: all of them enter, where of a host's only some do.
    #[serde(default)]
    pub image: bool,
    /// The image's own variables: the policy's and the caller's win.
    #[serde(default)]
    pub image_env: BTreeMap<String, String>,
    /// Devices that enter beside the usual ones.
    #[serde(default)]
    pub devices: Devices,
    /// Where programs start that name no folder, where there is no workspace; none: in the home.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// The certificate (PEM) of the sandbox's own authority, added to every trust store inside.
    pub authority_pem: String,
    /// Variables of the caller that the policy passes through, and `-e`, already resolved to values.
    pub env: BTreeMap<String, String>,
}

/// What the Container Device Interface put where the supervisor is, at paths that no link leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Device nodes below `/dev`.
    pub nodes: Vec<PathBuf>,
    /// Files and folders, read-only inside, where an image's own would not enter.
    pub files: Vec<PathBuf>,
}

/// A program to start inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The sandbox's own program: logged, waited for, and its end is the sandbox's.
    pub main: bool,
    /// The program and its arguments; found on the `PATH` inside when it has no `/`.
    pub argv: Vec<String>,
    /// Variables on top of the sandbox's.
    pub env: BTreeMap<String, String>,
    /// The working directory inside; none means `/workspace` where that exists, else the home.
    pub cwd: Option<PathBuf>,
    /// A terminal of this size instead of pipes.
    pub terminal: Option<TerminalSize>,
    /// Whether this connection becomes the program's session.
    pub attach: bool,
    /// Whether standard input is open (`run` and `exec` attached); otherwise it is `/dev/null`.
    pub stdin: bool,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its own status, or 128+N for signal N.
    pub code: u8,
    /// Limits of the sandbox that were run into on the way.
    #[serde(default, skip_serializing_if = "LimitsHit::is_none")]
    pub limits: LimitsHit,
}

impl Exit {
    /// As JSON, in bytes: a file of one that is longer is none.
    pub const LONGEST: u64 = 4 << 10;

    /// Of this status, within its limits.
    #[must_use]
    pub const fn of(code: u8) -> Self {
        Self { code, limits: LimitsHit { out_of_memory: 0, pids: 0, wall_time: false } }
    }
}

/// Which of the policy's `static.resources` a sandbox has run into since it was made. The numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LimitsHit {
    /// `memory`: processes that were killed for want of it.
    #[serde(default)]
    pub out_of_memory: u64,
    /// `pids`: processes and threads that were not begun.
    #[serde(default)]
    pub pids: u64,
    /// `wall_time`: its time is over.
    #[serde(default)]
    pub wall_time: bool,
}

impl LimitsHit {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Both together, of what was seen at two places.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            out_of_memory: self.out_of_memory.max(other.out_of_memory),
            pids: self.pids.max(other.pids),
            wall_time: self.wall_time || other.wall_time,
        }
    }
}

/// Where a supervisor stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// Present once the view stands.
    pub report: Option<EnforcementReport>,
    /// Whether the main program was started.
    pub started: bool,
    /// How it ended, once it did.
    pub exit: Option<Exit>,
}

/// What was enforced, layer by layer, as it was applied: never as it was hoped for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnforcementReport {
    /// In the order in which they were applied.
    pub layers: Vec<LayerReport>,
}

/// One layer of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LayerReport {
    /// `namespaces`, `view`, `lookup`, `capture`, `limits`, `identity`, `landlock`, `seccomp`, `resources`.
    pub layer: String,
    /// Whether the whole of it holds.
    pub enforced: bool,
    /// One line: with what, or what is missing.
    pub detail: String,
}

/// What a proxy reads of its host's names as it starts, and is handed when they change, in this order.
pub const NAME_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// What the gateway asks of a proxy. `Configure` comes first and once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyRequest {
    /// Everything it needs. Reply: `Enforcing`, sent when it accepts connections.
    Configure(Box<ProxyConfig>),
    /// A new revision. Reply: `Enforcing` when nothing is judged by the old one any more, or `Failed`.
    Apply(Box<Revised>),
    /// The revision that is enforced, with its credentials as they are now; one without a value keeps the value that it
    /// had, and without `valid_ms` its time too. Reply: as to `Apply`.
    Refresh(Box<Revised>),
    /// The host's names are others now. Its [`NAME_FILES`] come with it, open; an empty file in the place of one that is
    /// not there. Reply: `Done`.
    Names,
    /// Answer when a server has refused one of the credentials. Reply: `Rejected`.
    AwaitRejected,
    /// Where it stands. Reply: `Status`.
    Status,
    /// End. Reply: `Done`.
    Shutdown,
}

/// The proxy's answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyReply {
    /// This revision is enforced, and so many running exchanges were cut for it.
    Enforcing {
        /// The revision.
        revision: u64,
        /// Connections, streams and downloads that it no longer allows.
        cut: u64,
    },
    /// Where it stands.
    Status(ProxyStatus),
    /// Servers answered 401 to requests with these credentials since this was asked for the last time.
    Rejected(Vec<SecretRef>),
    /// Done, nothing to tell.
    Done,
    /// The old revision stays.
    Failed(Failure),
}

/// Where a proxy stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// The revision that it enforces; none before `Configure`.
    pub revision: Option<u64>,
    /// Open connections of the agent.
    pub connections: u64,
    /// Requests and connections refused so far.
    pub denied: u64,
}

/// A revision of the policy with the values that its references stand for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Revised {
    /// Grows by one with each.
    pub revision: u64,
    /// The flattened policy document.
    pub policy: String,
    /// One value for every reference in the document.
    pub credentials: Vec<Credential>,
}

/// A reference and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// As the policy writes it.
    pub reference: SecretRef,
    /// The value; only ever on this link.
    #[serde(with = "chiton_secret::dangerous_wire")]
    pub value: SecretValue,
    /// The hosts that it may go to, where its owner said so when it was stored.
    pub hosts: Option<Vec<String>>,
    /// How long it may be put into requests, from its arrival on; none: until another comes. Longer than that it is
    /// only taken out of responses. The proxy keeps to this by itself, whether or not a gateway is there.
    #[serde(default)]
    pub valid_ms: Option<u64>,
}

impl Credential {
    /// One that is not to be used any more. The proxy goes on taking the value that it has out of responses.
    #[must_use]
    pub fn withheld(reference: SecretRef) -> Self {
        Self { reference, value: SecretValue::new(Vec::new()), hosts: None, valid_ms: Some(0) }
    }
}

/// What a proxy needs to begin. Descriptors beside it: those of [`Listeners`], then the event file.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProxyConfig {
    /// The sandbox's name, for events and refusals.
    pub sandbox: String,
    /// Which descriptors come with it.
    pub listeners: Listeners,
    /// The first revision.
    pub revised: Revised,
    /// The sandbox's own authority: certificate and key, PEM.
    pub authority: AuthorityMaterial,
    /// How to reach upstream servers.
    pub upstream: Upstream,
}

/// The authority of one sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorityMaterial {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    #[serde(with = "chiton_secret::dangerous_wire")]
    pub key: SecretValue,
}

/// `[upstream]` of `config.toml`, with files read. The system's own roots, name servers and host table are
/// read by the proxy itself at its start, before it locks itself down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Certificates (PEM) trusted besides.
    pub extra_ca: Vec<String>,
    /// `host:port` → `address:port`, as curl's `--resolve`; trusted by the operator.
    pub resolve: BTreeMap<String, String>,
    /// `[llm] allow`: base URLs with plain HTTP or a loopback address that the operator opened.
    pub llm_allow: Vec<String>,
    /// `[llm.prices]` as JSON; empty for none. It is read by the same code at both ends.
    #[serde(default)]
    pub llm_prices: String,
    /// `proxy` and what belongs to it: what every connection goes through, where there is one.
    pub forward: Option<ForwardProxy>,
}
