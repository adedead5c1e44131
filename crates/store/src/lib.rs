//! The gateway's persisted state.
