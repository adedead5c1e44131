//! The container's seccomp profile, in the engines' own format (<https://docs.docker.com/engine/security/seccomp/>).
//!
//! It bounds the supervisor too. The agent has the narrower filter that the supervisor puts on each of its processes,
//! as everywhere.

use chiton_policy::Syscall;
use serde_json::json;

/// What neither the supervisor nor any program inside has to do with: the kernel's own set-up, its modules, clocks and
/// keys, its instruments, and what opens files past every mount.
const REFUSED: &[&str] = &[
    "_sysctl",
    "acct",
    "add_key",
    "adjtimex",
    "afs_syscall",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "migrate_pages",
    "modify_ldt",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
];

/// The profile's text: what is known and not refused passes, everything else is EPERM.
pub(crate) fn text() -> String {
    let names: Vec<_> = Syscall::all().map(Syscall::name).filter(|name| !REFUSED.contains(name)).collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": [] }],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    })
    .to_string()
}

/// How many calls pass.
pub(crate) fn count() -> usize {
    Syscall::all().filter(|call| !REFUSED.contains(&call.name())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_known_by_its_name() {
        for name in REFUSED {
            assert!(Syscall::by_name(name).is_some(), "{name}");
        }
        assert!(count() > 300);
        assert!(!text().contains("\"bpf\""));
    }
}
