//! The control plane, one for each user: sandboxes, policy revisions, credentials, the audit chain, and the
//! HTTP API by which the command line asks for them.
//!
//! *In*: requests over a Unix socket of the user's own, `config.toml`, what the drivers and the event files
//! tell. *Out*: what drivers are told to do. *Always*: the store is written by this process alone; the intent is
//! written before the deed; without a log that can be written nothing new starts. Never sees the agent's
//! traffic. Sandboxes run on, with their last revision, when it is gone; the next one adopts them.

mod audit;
mod config;
mod document;
mod error;
mod gateway;
mod http;
mod link;
mod names;
mod sandbox;
mod secrets;
mod serve;
mod socket;

pub use audit::AuditError;
pub use config::{ConfigError, EngineSockets};
pub use serve::{MakeDrivers, Options, ServeError, run};

#[cfg(test)]
mod tests;
