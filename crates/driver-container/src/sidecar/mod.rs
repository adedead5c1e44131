//! The way out where the engine's kernel is not this machine's: a second container beside the sandbox's own, the
//! sidecar. Descriptors cannot leave that kernel, and so what the driver does on the host is done there, by the same
//! code: the supervisor's papers are made, its listeners taken, the proxy started and replaced.
//!
//! ```text
//! this machine          │ the engine's kernel
//!                       │  sidecar: own network, no file of this machine     sandbox: no network
//! gateway ── exec ──────┼─▶ chiton sidecar SOCKET ─▶ supervisor.sock ──────▶ supervisor
//!   │                   │                         ─▶ proxy.sock: the proxy ◀── listeners
//!   ◀── what is written ┼───────────────────────────── sidecar.sock: chiton sidecar
//! ```
//!
//! Each connection of the gateway is a process that the engine starts in the sidecar, which joins its standard streams
//! with one socket there. So connections do not hinder one another, the gateway's end is theirs, and another gateway
//! begins at a message's beginning. Nothing of this machine is mounted in the sidecar, and it trusts nobody but who may
//! ask the engine for processes in it.
//!
//! On `sidecar.sock` messages are spoken as on the other links ([`Request`], [`Reply`]); after `Follow` come pieces of
//! files ([`files`]).

pub(crate) mod archive;
mod connection;
pub(crate) mod files;
pub(crate) mod life;
pub(crate) mod near;
pub(crate) mod order;
mod program;

use std::{path::PathBuf, process::ExitCode};

use chiton_api::control::{Failure, ProxyConfig};
use chiton_driver::SandboxId;
use serde::{Deserialize, Serialize};

use self::files::Lengths;

/// Where it is spoken to.
pub(crate) const SOCKET: &str = "sidecar.sock";
/// Its own files, in memory: sockets, and what the sandbox's processes write.
pub(crate) const TMP: &str = "/tmp";
/// The role.
pub(crate) const ROLE: &str = "sidecar";

/// What the enforcement report says of it.
pub(crate) const REPORTED: &str = "; the way out is a sidecar container, which holds the credentials while it runs, and \
                                   events until they are here; which folder the engine mounted as the workspace was \
                                   not looked at";

/// What the gateway asks of a sidecar. Each is answered on its own connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Wait for the sandbox's supervisor, and give it its papers. Replies: `Listening`, then `Done`.
    ///
    /// Behind the message comes what the event files hold already.
    Begin(Begin),
    /// Have a fresh proxy enforce. Reply: `Done`.
    Attach(Box<ProxyConfig>),
    /// Send what is written from here on. Pieces, no reply.
    Follow(Follow),
}

/// What a sidecar begins with, once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// Whose it is.
    pub(crate) id: SandboxId,
    /// The folder for the socket that takes one connection.
    pub(crate) hand_over: PathBuf,
    /// How long the files are already: of an earlier start.
    pub(crate) have: Lengths,
}

/// From where to where the files are sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Follow {
    /// How long they are here.
    pub(crate) have: Lengths,
    /// When to end.
    pub(crate) until: Until,
}

/// When no more of the files is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Until {
    /// When who asked is gone.
    Gone,
    /// When all is sent that is there.
    Now,
    /// The same, after the proxy was ended.
    Ended,
}

/// A sidecar's answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The supervisor may connect.
    Listening,
    /// Done.
    Done,
    /// The first process is not what was ordered.
    NotAsOrdered(String),
    /// It failed.
    Failed(Failure),
}

/// The hidden subcommand `chiton sidecar [SOCKET]`: the first process of a sidecar; with a socket's name one connection
/// to it, over standard input and output.
#[must_use]
pub fn run() -> ExitCode {
    let done = match std::env::args_os().nth(2) {
        Some(socket) => connection::run(&socket),
        None => program::run(),
    };
    // There is nobody to tell: who asked finds the connection closed.
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
