//! The native compute driver: namespaces on the host's own kernel, rootless or as root.
//!
//! For each sandbox a folder `<runtime>/sandboxes/<id>/` with the supervisor's and the proxy's sockets and a
//! record of their processes, so that every gateway after this one finds them. Both are `chiton` itself,
//! each in a session of its own with exactly the descriptors that it shall have.

mod driver;
mod folder;
mod host_id;
mod process;
mod proxy;
mod supervisor;
mod wire;

pub use crate::driver::{NativeConfig, NativeDriver};
