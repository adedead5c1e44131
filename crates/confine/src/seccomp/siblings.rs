//! Calls that do the same thing by another number: blocking one blocks all of its family.

use libc::c_long;

/// Families. Membership is symmetric; a call is in at most one.
const FAMILIES: &[&[c_long]] = &[
    &[libc::SYS_open, libc::SYS_openat, libc::SYS_openat2, libc::SYS_creat],
    &[libc::SYS_execve, libc::SYS_execveat],
    &[libc::SYS_chmod, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2],
    &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat],
    &[libc::SYS_link, libc::SYS_linkat],
    &[libc::SYS_symlink, libc::SYS_symlinkat],
    &[libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2],
    &[libc::SYS_mkdir, libc::SYS_mkdirat],
    &[libc::SYS_mknod, libc::SYS_mknodat],
    &[libc::SYS_unlink, libc::SYS_unlinkat],
    &[libc::SYS_readlink, libc::SYS_readlinkat],
    &[libc::SYS_access, libc::SYS_faccessat, libc::SYS_faccessat2],
    &[libc::SYS_truncate, libc::SYS_ftruncate],
    &[libc::SYS_accept, libc::SYS_accept4],
    &[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_send_signal],
    &[libc::SYS_kexec_load, libc::SYS_kexec_file_load],
    &[libc::SYS_init_module, libc::SYS_finit_module],
    &[libc::SYS_umount2],
    &[
        libc::SYS_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
    ],
    &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex],
    &[libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr],
    &[libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr],
    &[libc::SYS_getdents, libc::SYS_getdents64],
    &[libc::SYS_quotactl, libc::SYS_quotactl_fd],
    &[libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev],
];

/// The call itself and all that do the same.
#[must_use]
pub fn siblings(number: u32) -> Vec<u32> {
    let wanted = c_long::from(number);
    let family = FAMILIES.iter().find(|family| family.contains(&wanted));
    family
        .map_or_else(|| vec![number], |family| family.iter().filter_map(|n| u32::try_from(*n).ok()).collect())
}
