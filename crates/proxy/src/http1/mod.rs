//! HTTP/1: a strict codec of our own.
//!
//! Lenient parsers are where request smuggling lives, so this one reads exactly one spelling of every message
//! and refuses the rest. In: a byte stream of the agent. Out: [`crate::message::Request`] for the service, one at
//! a time, and its responses written back. The servers' side, [`crate::upstream::http1`], reads heads and bodies by the
//! same code.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod response;
pub(crate) mod writer;
