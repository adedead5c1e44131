//! The audit log: `audit.jsonl`, one chain over everything that was decided.
//!
//! *In*: the gateway's own events, and the event files that each supervisor and each proxy appends to before
//! the agent sees an effect. *Out*: chained lines. *Always*: an event is in the log exactly once. A checkpoint
//! (the log's length, and how far each event file was read by then) is kept in the store; after a gateway that
//! was killed, the ids of what the log holds past the checkpoint tell what of the event files is in it already.
//!
//! **What is on the disk when.** A line is written (it survives the death of every process) before the deed of
//! ours that it tells of, and within a fifth of a second for what others wrote; it is flushed to the disk within
//! a second, at the gateway's end, and always before a checkpoint that counts it. The event files lose at most what
//! the system had not flushed at a loss of power, which ends their sandbox too. While the log cannot be written, or
//! the thread that chains ended by a fault of ours and its successor has not done a turn, nothing new is started or
//! applied; what the event files hold waits, and is chained when it can be. An event file is deleted once all of it
//! is in the log and on the disk, and how far it was chained is known for as long as it is there.

mod log;
mod query;
mod source;
mod task;
mod usage;

pub use log::AuditError;
pub(crate) use log::AuditLog;
pub(crate) use query::{Filter, search, verify};
pub(crate) use task::tail;
pub(crate) use usage::usage;

#[cfg(test)]
pub(crate) mod tests;
