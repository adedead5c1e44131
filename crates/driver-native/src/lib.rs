//! The native compute driver: namespaces on the host's own kernel, rootless or as root.
//!
//! Supervisors are processes of this host; everything else is [`chiton_driver_host`]'s.

mod cgroup;
mod host_id;
mod platform;
mod supervisors;

use std::{path::Path, sync::Arc};

use chiton_driver_host::{HostDriver, Proxies};

pub use crate::platform::{Native, Place};

/// Launches sandboxes on this host.
pub type NativeDriver = HostDriver<Native>;

/// A driver whose records are in this runtime directory (mode 0700); `executable` is the `chiton` that is started as
/// supervisor, `/proc/self/exe` for this very one.
#[must_use]
pub fn driver(runtime: &Path, executable: &Path, proxies: Arc<Proxies>) -> NativeDriver {
    chiton_confine::cgroup::settle();
    HostDriver::new(Native::of(executable), runtime.join("sandboxes"), proxies)
}
