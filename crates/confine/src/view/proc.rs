//! The `/proc` of the sandbox's own pid namespace.

use std::path::Path;

use chiton_sys::mount::MountAttrFlags;

use crate::view::{
    Source, ViewError,
    assemble::covering,
    tree::{DEVICE, Filesystem, Tree, step},
};

/// What programs may read there but nobody may write, whoever they are.
const READ_ONLY: &[&str] = &["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];

/// What tells of the host more than programs need.
const HIDDEN: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

impl Tree {
    /// Mounts it. By a process of that pid namespace.
    pub(super) fn mount_proc(&self) -> Result<(), ViewError> {
        let path = Path::new("/proc");
        let attributes = DEVICE | MountAttrFlags::MOUNT_ATTR_NODEV;
        let filesystem = Filesystem { kind: "proc", options: &[], attributes };
        let mount = filesystem.make().map_err(step("making", path))?;
        self.place(mount, path).map_err(step("mounting", path))?;
        for (list, source) in [(READ_ONLY, Source::Itself), (HIDDEN, Source::Nothing)] {
            for path in list.iter().map(Path::new) {
                self.cover(path, |tree, found| covering(tree, found, &source))
                    .map_err(step("covering", path))?;
            }
        }
        Ok(())
    }
}
