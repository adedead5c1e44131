//! The native compute driver: namespaces on the host's own kernel, rootless or as root.
//!
//! Supervisors are processes of this host; everything else is [`chiton_driver_host`]'s.

mod cgroup;
mod host_id;
mod platform;
mod supervisors;

use std::{path::Path, sync::Arc};

use chiton_driver::DriverName;
use chiton_driver_host::{HostDriver, Proxies};

pub use crate::platform::{Native, Place};

/// Launches sandboxes on this host.
pub type NativeDriver = HostDriver<Native>;

/// A driver whose sockets are in this runtime directory and whose records are in this folder (mode 0700, both);
/// `executable` is the `chiton` that is started as supervisor, `/proc/self/exe` for this very one.
#[must_use]
pub fn driver(runtime: &Path, records: &Path, executable: &Path, proxies: Arc<Proxies>) -> NativeDriver {
    chiton_confine::cgroup::settle();
    let records = records.join(DriverName::Native.as_str());
    HostDriver::new(Native::of(executable), runtime.join("sandboxes"), records, proxies)
}
