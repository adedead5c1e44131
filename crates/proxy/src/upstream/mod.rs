//! The servers' side: a permit in, a response out.
//!
//! Order of a request, and why: pooled connection of the same permit identity → else resolve once → check every
//! address → dial exactly the checked one, or have the operator's forward proxy do so → TLS verified for the judged host → send. A step only takes what the
//! one before it made.

pub(crate) mod address;
pub(crate) mod dial;
pub(crate) mod forward;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod pool;
pub(crate) mod read_ahead;
pub(crate) mod relay;
pub(crate) mod resolve;
pub(crate) mod trust;
pub(crate) mod via;
pub(crate) mod wire;
