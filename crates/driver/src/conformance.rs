//! The conformance suite: what every driver does, tried on real sandboxes. A driver exists when it passes.
//!
//! In: a [`Fixture`], which makes sandboxes of the driver. Out: a panic with what was found, as in any test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "these are tests, compiled for the drivers' own: a surprise is to panic, and a table is to be read"
)]

mod declared;
mod programs;
mod resources;
mod sandbox;
mod sessions;
mod walls;

use std::{path::PathBuf, pin::Pin, sync::Arc};

pub use sandbox::{POLICY, Sandbox, Session, exec, in_terminal, program, proxy_config, shell};

use crate::ComputeDriver;

/// A driver on this machine. Its sandboxes have a `/bin/sh` and the programs that busybox has too; nothing else is
/// asked of their system.
pub trait Fixture: Sync {
    /// A sandbox that is not created yet, with fresh files. Where it is dropped before it was destroyed, its
    /// processes end too.
    fn sandbox(&self) -> Sandbox;

    /// The driver of another gateway, which knows of this sandbox by its files alone.
    fn again(&self, sandbox: &Sandbox) -> Arc<dyn ComputeDriver>;

    /// The runtime folder of both.
    fn runtime(&self, sandbox: &Sandbox) -> PathBuf;
}

/// A case that is being tried.
pub type Trial<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One thing that every driver does.
#[derive(Clone, Copy)]
pub struct Case {
    /// What.
    pub name: &'static str,
    /// Tries it.
    pub run: fn(&dyn Fixture) -> Trial<'_>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The whole suite.
pub fn cases() -> impl Iterator<Item = Case> {
    let all = [declared::CASES, programs::CASES, sessions::CASES, walls::CASES, resources::CASES];
    all.into_iter().flatten().copied()
}
