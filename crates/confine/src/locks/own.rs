//! The locks of our own processes in the sandbox.

use chiton_sys::{capability, capability::CapabilitySet, process, signal};

use crate::locks::{LockError, agent::step};

/// The outer supervisor, once the sandbox stands: undumpable, no new privileges, and only the capabilities in
/// `keep` (inside the sandbox's user namespace): what serving lookups needs.
pub fn apply_to_outer(keep: CapabilitySet) -> Result<(), LockError> {
    process::set_undumpable().map_err(step("making the supervisor undumpable"))?;
    process::set_no_new_privs().map_err(step("giving up new privileges"))?;
    capability::keep_only(keep).map_err(step("giving up capabilities"))
}

/// PID 1, once the view is entered: as [`apply_to_outer`], keeping nothing. The processes that it forks start
/// undumpable too, until they exec. The kernel drops what it is sent from inside and has no handler for
/// (pid_namespaces(7)): so it has none.
pub fn apply_to_init() -> Result<(), LockError> {
    signal::handle_no_fault();
    apply_to_outer(CapabilitySet::empty())
}
