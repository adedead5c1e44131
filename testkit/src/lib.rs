//! Upstream servers for tests, the harness that runs the built binary, and the probe that runs inside.
//!
//! Everything listens on loopback, on ports that the kernel chose. Servers run on threads of their own and
//! end when they are dropped, so that tests are plain functions.

pub mod aws;
pub mod ca;
pub mod connect;
pub mod engines;
pub mod frames;
pub mod harness;
pub mod log;
mod loopback;
pub mod program;
pub mod raw;
pub mod routes;
pub mod server;
pub mod vault;
mod waiting;

pub use aws::AwsServer;
pub use ca::TestCa;
pub use connect::{Forward, ForwardProxy};
pub use harness::{As, Chiton, Outcome};
pub use log::Seen;
pub use program::Program;
pub use raw::RawUpstream;
pub use routes::Router;
pub use server::{Answer, Received, Upstream};
pub use vault::VaultServer;
pub use waiting::{is_dead, soon};
