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

/// Families of sockets (`AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`), the agent's too. What others lead to is not of
/// the container's network: `AF_VSOCK` to the machine around this one, `AF_ALG` into the kernel.
const FAMILIES: [u32; 4] = [1, 2, 10, 16];

/// What the supervisor makes a sandbox with, and a sidecar has no use for.
const OF_SUPERVISOR: &[&str] = &[
    "chroot",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "setns",
    "umount2",
    "unshare",
];

/// The profile's text: what is known and not refused passes, everything else is EPERM.
pub(crate) fn text() -> String {
    without(&[])
}

/// The same for a sidecar.
pub(crate) fn of_sidecar() -> String {
    without(OF_SUPERVISOR)
}

fn without(more: &[&str]) -> String {
    let passes = |name: &&str| !REFUSED.contains(name) && !more.contains(name) && *name != "socket";
    let names: Vec<_> = Syscall::all().map(Syscall::name).filter(passes).collect();
    let mut calls = vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" })];
    calls.extend(FAMILIES.map(|family| {
        let family = json!({ "index": 0, "value": family, "valueTwo": 0, "op": "SCMP_CMP_EQ" });
        json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [family] })
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": [] }],
        "syscalls": calls,
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
        for name in REFUSED.iter().chain(OF_SUPERVISOR) {
            assert!(Syscall::by_name(name).is_some(), "{name}");
        }
        assert!(count() > 300);
        assert!(!text().contains("\"bpf\"") && text().contains("\"unshare\""));
        assert!(!of_sidecar().contains("\"unshare\""));
    }

    #[test]
    fn a_socket_passes_by_its_family_alone() {
        let profile: serde_json::Value = serde_json::from_str(&text()).unwrap();
        let calls = profile["syscalls"].as_array().unwrap();
        let named = |call: &&serde_json::Value| call["names"].to_string().contains("\"socket\"");
        let families = calls.iter().filter(named).map(|call| call["args"][0]["value"].as_u64());
        assert_eq!(families.collect::<Vec<_>>(), [Some(1), Some(2), Some(10), Some(16)]);
    }
}
