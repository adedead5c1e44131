//! The HTTP API of the gateway, for the gateway that serves it and the programs that ask.
//!
//! Served over a Unix socket (`<runtime>/gateway.sock`), HTTP/1.1, to the gateway's own user alone. Bodies
//! are JSON; unknown fields are refused. `{sandbox}` is a sandbox's name or its identity; `wait` and `denials`
//! also know one that is removed (by its name: the last that had it). Every error is a
//! [`Problem`] (`application/problem+json`, RFC 9457). The OpenAPI document is made from the code.
//!
//! | route | body → answer |
//! |---|---|
//! | `GET /v1/version` | → [`Version`] |
//! | `GET /v1/status` | → [`Status`] |
//! | `GET /v1/openapi.json` | → the OpenAPI 3.1 document |
//! | `POST /v1/stop` | [`StopGateway`] → 202, [`Stopping`]; the gateway ends, sandboxes run on unless `all` |
//! | `POST /v1/sandboxes` | [`CreateRequest`] → 201 [`Sandbox`], or with `session.attach` → 101 (see below) |
//! | `GET /v1/sandboxes?all=true` | → `[Sandbox]`, newest first; without `all` those that run or begin or end |
//! | `GET /v1/sandboxes/{sandbox}` | → [`SandboxDetail`] |
//! | `DELETE /v1/sandboxes/{sandbox}?force=true` | → 204; one that runs needs `force` |
//! | `POST /v1/sandboxes/{sandbox}/start` | [`StartRequest`] → 200 [`Sandbox`], or 101; only one that ended |
//! | `POST /v1/sandboxes/{sandbox}/stop` | [`StopRequest`] → [`Sandbox`], when it has ended |
//! | `POST /v1/sandboxes/{sandbox}/signal` | [`SignalRequest`] → 204 |
//! | `GET /v1/sandboxes/{sandbox}/wait` | → [`WaitReply`], when it has ended |
//! | `GET /v1/sandboxes/{sandbox}/logs?follow=true` | → session frames ([`SESSION_FRAMES`]), to the end |
//! | `POST /v1/sandboxes/{sandbox}/exec` | [`ExecRequest`] → 101 |
//! | `POST /v1/sandboxes/{sandbox}/attach` | → 101 |
//! | `GET /v1/sandboxes/{sandbox}/denials` | → [`Denials`], counted up to this moment |
//! | `GET /v1/sandboxes/{sandbox}/policy` | → [`PolicyReply`] |
//! | `PUT /v1/sandboxes/{sandbox}/policy` | [`ApplyRequest`] → [`ApplyReply`], once it is enforced |
//! | `GET /v1/audit?…` | query of [`AuditQuery`] → chained events, one JSON object a line ([`NDJSON`]) |
//! | `POST /v1/audit/verify` | → [`VerifyReply`] |
//! | `GET /v1/llm/usage?…` | query of [`UsageQuery`] → [`UsageReply`] |
//! | `GET /v1/secrets` | → `[SecretInfo]` |
//! | `PUT /v1/secrets/{name}` | [`SetSecret`] → 204 |
//! | `DELETE /v1/secrets/{name}` | → 204 |
//! | `POST /v1/store-key` | [`ChangeKey`] → [`ChangedKey`]; the local store is sealed with another key |
//! | `POST /v1/resolve` | [`TestSecret`] → [`TestedSecret`]; never a value |
//!
//! **Sessions.** A request that asks for a session carries `Connection: Upgrade` and
//! `Upgrade: chiton-session` ([`SESSION_PROTOCOL`]) besides its body. When everything before the start went
//! well and the program runs the answer is 101, with the sandbox's name in [`SANDBOX_HEADER`] and its
//! identity in [`SANDBOX_ID_HEADER`] (which names it also when it was removed); from then on
//! both directions are session frames of [`crate::frame`], and the last one from the gateway is `Exit`, that
//! of a sandbox's own program after `Refusals`. What fails before is an ordinary [`Problem`] whose
//! `exit_status` says what `run` ends with (125, 126, 127). A connection that ends without an `Exit` frame
//! lost its gateway or supervisor: 125.
//!
//! **One round trip.** `POST /v1/sandboxes` checks, creates, confines and starts; there is no created but
//! unstarted sandbox to ask for.

mod audit;
mod gateway;
mod llm;
mod policy;
mod problem;
mod sandbox;
mod secret;

pub use audit::{AuditQuery, VerifyReply};
pub use gateway::{
    AuditHealth, DriverStatus, Examination, Folders, LayerCheck, PullLine, PullRequest, PullStep, Status,
    StopGateway, Stopping, Version,
};
pub use llm::{SoFar, UsageBy, UsageQuery, UsageReply, UsageRow};
pub use policy::{ApplyReply, ApplyRequest, PolicyReply, Push, RevisionInfo};
pub use problem::{PROBLEM_JSON, Problem, ProblemKind};
pub use sandbox::{
    CreateRequest, Denials, ExecRequest, ListQuery, LogsQuery, Reason, RemoveQuery, Sandbox, SandboxDetail,
    Session, SignalRequest, StartRequest, State, StopRequest, WaitReply,
};
pub use secret::{ChangeKey, ChangedKey, SecretInfo, SetSecret, StoreKey, TestSecret, TestedSecret};

/// The protocol name of `Upgrade` for sessions.
pub const SESSION_PROTOCOL: &str = "chiton-session";
/// The header of a 101 that holds the sandbox's name.
pub const SANDBOX_HEADER: &str = "x-chiton-sandbox";
/// The header of a 101 that holds the sandbox's identity.
pub const SANDBOX_ID_HEADER: &str = "x-chiton-sandbox-id";
/// The content type of a stream of session frames.
pub const SESSION_FRAMES: &str = "application/vnd.chiton.session-frames";
/// The content type of one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";
