//! The Docker and Podman compute drivers.
//!
//! A container is the outer box: an image's files, no network, no capability, an ordinary user of the host, a seccomp
//! profile of ours. Its first process is `chiton` itself, brought in read-only, which builds inside exactly what the
//! native driver builds on the host: the same supervisor, the same namespaces, view, capture, Landlock and seccomp
//! (docs/decisions/0036). The proxy stays outside, where the native driver has it; listeners are handed over through
//! the one socket that is mounted. So the promises are the same by construction.
//!
//! Docker and Podman are asked by the same API (Podman answers Docker's); what they differ in is [`Engine`].

mod cdi;
mod client;
mod container;
mod engine;
mod examine;
mod hand_over;
mod image;
mod libpod;
mod limits;
mod pids;
mod platform;
mod profile;
mod registry;
mod sidecar;
mod user;
mod workspace;

use std::{path::Path, sync::Arc};

use chiton_driver_host::{HostDriver, Proxies};

pub use crate::{
    engine::Engine,
    platform::{Container, Place},
    sidecar::run as run_sidecar,
};

/// Launches sandboxes in an engine's containers.
pub type ContainerDriver = HostDriver<Container>;

/// A driver whose sockets are in this runtime directory and whose records are in this folder (mode 0700, both), for this
/// engine. The engine is asked when a sandbox is made or ended, not before.
#[must_use]
pub fn driver(engine: Engine, runtime: &Path, records: &Path, proxies: Arc<Proxies>) -> ContainerDriver {
    let name = engine.name();
    let (folders, records) = (runtime.join(name.as_str()), records.join(name.as_str()));
    HostDriver::new(Container::new(engine, folders.clone()), folders.join("sandboxes"), records, proxies)
}
