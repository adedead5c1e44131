//! One decision.
fn main() {}
