//! The whole gateway over its socket, with a driver that pretends.

mod apply;
mod fake;
mod hostile;
mod lifecycle;
mod limits;
mod reconcile;
mod vault;
mod world;
