//! The server on real programs: what they do is what they do without it, and what they must not do fails.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod alike;
mod attacks;
mod cost;
mod harness;
mod inside;
mod programs;
