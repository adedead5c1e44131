//! What `rustix::mount` lacks: attributes of a whole tree of mounts.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

pub use rustix::mount::MountAttrFlags;

use crate::{Result, check};

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes on the mount under `mount` (and on all below it), and, with `idmap`, the user namespace
/// whose map the mount's ids go through. All or nothing.
pub fn set_attributes(
    mount: impl AsFd,
    set: MountAttrFlags,
    recursive: bool,
    idmap: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = MountAttr { set: u64::from(set.bits()), clear: 0, propagation: 0, userns: 0 };
    if let Some(namespace) = idmap {
        attr.set |= u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        attr.userns = u64::try_from(namespace.as_raw_fd()).unwrap_or_default();
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attr` has the size that is passed, and both outlive the call;
    // the descriptors are borrowed for its length.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}
