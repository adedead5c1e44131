//! Capability sets: emptied, or cut down to the few that a process of ours keeps.

pub use rustix::thread::CapabilitySet;
use rustix::thread::{self, CapabilitySets};

use crate::{Errno, Result};

/// Keeps exactly `keep` as permitted and effective, inherits nothing, and empties the bounding and the ambient
/// set, so that no program started from here has any, whatever its file says. The bounding set goes first: it
/// needs `CAP_SETPCAP`, and a process that does not have it must have an empty one already.
pub fn keep_only(keep: CapabilitySet) -> Result<()> {
    empty_bounding_set()?;
    match thread::clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(e) => return Err(e),
    }
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets)
}

/// Every capability that the process holds now.
pub fn held() -> Result<CapabilitySet> {
    thread::capabilities(None).map(|sets| sets.permitted | sets.effective | sets.inheritable)
}

/// Removes every capability that the kernel knows. `EINVAL` marks the first number that it does not.
fn empty_bounding_set() -> Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match thread::capability_is_in_bounding_set(one) {
            Ok(true) => thread::remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
