//! A sandbox's life: what is checked before it begins, how it is made, the one task that drives it while it
//! runs, and what a new gateway makes of what an old one left.
//!
//! *Always*: the intent is in the store and in the audit log before the deed; whatever fails on the way to a
//! running program is undone; what the program's user was told is what the store says when they ask next.

mod apply;
mod check;
mod create;
mod end;
mod limits;
mod live;
mod make;
mod network;
mod path;
mod reconcile;
mod renewal;
mod task;
mod upstream;

pub(crate) use apply::recreate;
pub(crate) use check::check_words;
pub(crate) use create::{Started, create, restart};
pub(crate) use end::{remove, remove_by_force};
pub(crate) use live::Live;
pub(crate) use reconcile::reconcile;
