//! Which Landlock this kernel has. Rulesets themselves are the `landlock` crate's.

use crate::check;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_ulong = 1;

/// The ABI's number, 0 where there is none or where it is switched off.
#[must_use]
pub fn abi() -> u32 {
    // SAFETY: with the version flag the kernel wants no pointer and no size, and makes nothing.
    let asked = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    check(asked).ok().and_then(|abi| u32::try_from(abi).ok()).unwrap_or(0)
}
