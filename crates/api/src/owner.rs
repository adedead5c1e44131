//! The owners' link, proxy → supervisor: whose connection is it, and which executable does a name mean.
//!
//! One JSON message a packet, both ways, on a socket that is made with the listeners and handed over with them. A
//! proxy that replaces another one gets the same socket: answers carry the question's id, and one that nobody
//! waits for is dropped.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The longest message.
pub const MAX_PACKET: usize = 64 << 10;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The asker's own; no two questions have the same.
    pub id: u64,
    /// What is asked.
    pub question: Question,
}

/// What a proxy asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whose is the connection with these two ends, as the agent has them.
    Owner {
        /// The agent's own end.
        from: SocketAddr,
        /// Where it was going, before it was turned to the proxy.
        to: SocketAddr,
        /// The proxy's end.
        at: SocketAddr,
        /// The cookie of the socket that the proxy accepted.
        cookie: u64,
    },
    /// Which files these paths lead to, symlinks followed. `~/` is the caller's home.
    LeadsTo(Vec<PathBuf>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The question's.
    pub id: u64,
    /// What is told.
    pub answer: Answer,
}

/// What the supervisor tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The owner; none where it cannot be told for certain.
    Owner(Option<Owner>),
    /// In the order of the question; none where a path leads nowhere, or the agent could lead it elsewhere.
    LeadsTo(Vec<Option<PathBuf>>),
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The executable, as seen inside, symlinks resolved.
    pub executable: PathBuf,
    /// The same with `~/` for the caller's home, where it lies there.
    pub in_home: Option<PathBuf>,
    /// Whether that path says what runs: the agent can write neither the file nor its name.
    pub fixed: bool,
    /// The script that it was started with; none where that cannot be told for certain.
    pub script: Option<Script>,
}

/// A script that an interpreter was started with: one that the agent can write by no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The file, as seen inside, symlinks resolved.
    pub file: PathBuf,
    /// The same with `~/` for the caller's home, where it lies there.
    pub in_home: Option<PathBuf>,
}
