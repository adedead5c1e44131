//! TLS on both sides of the proxy.
//!
//! Towards the agent: an [`Authority`] that exists for one sandbox, [`Leaves`] that it signs as names come
//! up, and a [`Terminator`] that makes server configurations of them. Towards upstream: [`Roots`], the
//! system's and the operator's, and client configurations that verify against nothing else. One provider
//! throughout, aws-lc-rs; it is never taken from a process-wide default.

mod authority;
mod error;
mod leaf;
mod server;
mod upstream;

pub use authority::Authority;
pub use error::TlsError;
pub use leaf::Leaves;
pub use server::{Offered, Terminator};
pub use upstream::{Alpn, Roots, SystemRoots, client_config, parse_certificates, system_roots_pem};

#[cfg(test)]
mod tests;
