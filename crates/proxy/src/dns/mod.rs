//! The sandbox's DNS: every name gets an address that stands for it, and no question ever leaves.
//!
//! What always holds: a stand-in is never given to another name in the sandbox's life. Each new one is an event
//! in the event file before it is answered, in order, and a proxy that replaces another reads them back.

pub(crate) mod names;
pub(crate) mod server;
