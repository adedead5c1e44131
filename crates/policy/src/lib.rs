//! The policy language: document, model, compilation and the pure decision.
//!
//! The way through: a text is read into a [`Policy`] ([`Policy::parse`]), which is compiled once
//! ([`compile`]); a listener brings what it read to an [`Intent`] ([`Intent::from_parts`]); and [`decide`]
//! turns the two into a [`RequestPermit`] or a [`Denial`]. Files are judged by [`FileRules`].
//!
//! Nothing here does I/O, and whatever compares a host or a path anywhere in the program does it through here.

mod binary;
mod canonical;
mod check;
mod compile;
mod connect;
mod decide;
mod denial;
mod diagnostics;
mod diff;
mod document;
mod explain;
mod extend;
mod files;
pub mod model;
mod names;
mod patterns;
mod percent;
mod permit;
mod print;
mod provider;
mod references;
mod schema;
mod syscalls;
mod together;
mod unsupported;

pub use binary::{Binary, binary_matches};
pub use canonical::{
    Ambiguity, Ambiguous, IncomingRequest, Intent, RequestLineError, asks_for_another_method,
    may_be_read_as_framing,
};
pub use compile::{CompiledPolicy, HostDecision, compile, is_internal};
pub use connect::{ConnectIntent, ConnectKind, ConnectPermit, decide_connect};
pub use decide::{Decision, decide, decide_websocket};
pub use denial::{Denial, Reason};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use diff::{Change, Effect, PolicyDiff, diff, static_diff};
pub use document::Document;
pub use explain::{Explanation, Outcome, RuleTrace, explain, explain_connection};
pub use files::{FileRules, FileScope, FileVerdict, PathRefused, ResolvedPaths, WORKSPACE};
pub use model::{
    BaseUrl, BaseUrlError, DeniedPattern, EnvEntry, FilesystemRules, Fixed, LlmRoute, Mode, Policy,
    PolicyPath, Protection,
};
pub use names::{
    EnvName, Host, HostError, HostName, Method, Port, RuleName, SANDBOX_VARIABLE, Scheme, TRUST_VARIABLES,
};
pub use patterns::{
    BinaryPattern, BinaryPatternError, FileGlob, FileGlobError, HostPattern, HostPatternError, PathPattern,
    PathPatternError, TextGlob,
};
pub use permit::{LlmGrant, RequestPermit};
pub use provider::{
    CallersTools, Conversation, Dialect, Endpoint, Place, Provider, ProviderFacts, Signs, Spends, Words,
    Writes,
};
pub use references::{SentSecret, closed_backend, secret_hosts, secret_refs};
pub use schema::schema;
pub use syscalls::Syscall;
pub use together::{Part, faults_between};
pub use unsupported::{Unsupported, unsupported};
