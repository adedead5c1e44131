//! Audit events, their hash chain, and the trait that a sink fulfils.
