//! The command line as people and scripts use it: exit status, streams, terminals, one-line errors, JSON.

mod demo;
mod gateway;
mod init;
mod life;
mod policy;
mod run;
mod secrets;
mod terminal;
mod words;

/// The workspace and `/tmp`, nothing else.
const POLICY: &str = "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n";
