//! WebSockets: opened by a judged GET, then relayed frame by frame until either side, or a new revision, ends it.
//!
//! In: a request that asks for one, with the permit that opens it, and later the agent's stream. Out: a connection to
//! the server of its own, never shared, and an answer of 101 (200 over HTTP/2) only where the server's own was checked.
//! Nothing of the agent's bytes goes upstream that is not a well-formed frame.

pub(crate) mod frame;
pub(crate) mod handshake;
mod open;
mod pump;
mod relay;

pub(crate) use handshake::Ask;
pub(crate) use open::{OpenError, Opened, open};
pub(crate) use relay::{End, Relay, serve_http2, switched};
