//! Drives sandboxes whose kernel is this host's.
//!
//! For each sandbox a folder `<runtime>/<where>/<id>/` with the supervisor's and the proxy's sockets, and a record in the
//! state folder, so that every gateway after this one finds what runs. The supervisor and the proxy are `chiton` itself. Drivers
//! differ in how a supervisor is started and how all is ended: that is their [`Platform`].

mod driver;
mod folder;
mod limits;
mod local;
mod names;
mod platform;
mod process;
mod proxy;
mod records;
mod sockets;
#[cfg(feature = "conformance")]
pub mod stand_in;
mod supervisor;
pub mod wire;

pub use crate::{
    driver::HostDriver,
    folder::{Folder, Whom},
    local::Local,
    platform::{Papers, Platform, Starting},
    process::{Held, ProcessId, start},
    proxy::Proxies,
};
