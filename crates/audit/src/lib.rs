//! Audit events, the hash chain that shows tampering, and what a sink is.
//!
//! An [`Event`] says what was decided; it has no field for a header, a body, an argument or a variable,
//! and of a query it takes the names only, so that no secret can enter by accident. A [`Chain`] turns
//! events into lines that each cover the one before; [`verify`] names the first that was touched. A
//! [`Spool`] is the chained file that a proxy or supervisor holds open itself; the gateway reads it as
//! [`Entry`]s and chains each event once more into the one audit log.

mod chain;
mod code;
mod entry;
mod event;
mod json;
mod moment;
mod sink;
mod summary;
mod usd;
mod verify;

pub use chain::{Chain, Hash};
pub use code::Code;
pub use entry::Entry;
pub use event::{Decision, Event, Layer, Linked, LlmUse, ParseError, QueryNames, Request, Response};
pub use moment::{EventId, Time};
pub use sink::{Sink, SinkError, Spool};
pub use usd::{NotUsd, Usd};
pub use verify::{Broken, Fault, Head, Summary, verify, verify_spool};

#[cfg(test)]
mod tests;
