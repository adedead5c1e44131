//! Attempts on the kernel: each system call that the baseline refuses, and what could change who we are.

use std::{fs, io, os::fd::AsRawFd};

use libc::{c_int, c_long};

use crate::{Attempt, Tried, argument, checked};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("unshare-user", |_| unshare(libc::CLONE_NEWUSER)),
    ("unshare-net", |_| unshare(libc::CLONE_NEWNET)),
    ("unshare-mount", |_| unshare(libc::CLONE_NEWNS)),
    ("unshare-pid", |_| unshare(libc::CLONE_NEWPID)),
    ("clone-user", |_| clone_into(libc::CLONE_NEWUSER)),
    ("clone3", clone3),
    ("setns", setns),
    ("ptrace-parent", |_| ptrace(parent())),
    ("ptrace-1", |_| ptrace(1)),
    ("ptrace-traceme", |_| call(libc::SYS_ptrace, [0; 6])),
    ("process-vm-readv", |_| process_vm_readv()),
    ("pidfd-getfd", |_| pidfd_getfd()),
    ("proc-mem", |a| fs::File::open(format!("/proc/{}/mem", argument(a, 0, "1"))).map(|_| String::new())),
    ("kill", kill),
    ("mount", |_| mount()),
    ("umount", |_| call(libc::SYS_umount2, [c"/tmp".as_ptr() as c_long, 0, 0, 0, 0, 0])),
    ("pivot-root", |_| {
        call(libc::SYS_pivot_root, [c"/".as_ptr() as c_long, c"/".as_ptr() as c_long, 0, 0, 0, 0])
    }),
    ("chroot", |_| call(libc::SYS_chroot, [c"/tmp".as_ptr() as c_long, 0, 0, 0, 0, 0])),
    ("open-tree", |_| {
        call(libc::SYS_open_tree, [libc::AT_FDCWD.into(), c"/".as_ptr() as c_long, 1, 0, 0, 0])
    }),
    ("fsopen", |_| call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as c_long, 0, 0, 0, 0, 0])),
    ("move-mount", |_| {
        call(libc::SYS_move_mount, [-1, c"".as_ptr() as c_long, -1, c"/".as_ptr() as c_long, 0, 0])
    }),
    ("mount-setattr", |_| {
        call(libc::SYS_mount_setattr, [libc::AT_FDCWD.into(), c"/".as_ptr() as c_long, 0, 0, 0, 0])
    }),
    ("reboot", |_| call(libc::SYS_reboot, [0, 0, 0, 0, 0, 0])),
    ("kexec-load", |_| call(libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0])),
    ("init-module", |_| call(libc::SYS_init_module, [0, 0, c"".as_ptr() as c_long, 0, 0, 0])),
    ("finit-module", |_| call(libc::SYS_finit_module, [-1, c"".as_ptr() as c_long, 0, 0, 0, 0])),
    ("bpf", |_| call(libc::SYS_bpf, [0, 0, 0, 0, 0, 0])),
    ("perf-event-open", |_| perf_event_open()),
    ("userfaultfd", |_| call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0])),
    ("io-uring", |_| io_uring()),
    ("keyctl", |_| call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0])),
    ("add-key", |_| {
        call(
            libc::SYS_add_key,
            [c"user".as_ptr() as c_long, c"k".as_ptr() as c_long, c"v".as_ptr() as c_long, 1, -3, 0],
        )
    }),
    ("request-key", |_| {
        call(libc::SYS_request_key, [c"user".as_ptr() as c_long, c"k".as_ptr() as c_long, 0, -3, 0, 0])
    }),
    ("swapon", |_| call(libc::SYS_swapon, [c"/tmp".as_ptr() as c_long, 0, 0, 0, 0, 0])),
    ("acct", |_| call(libc::SYS_acct, [0, 0, 0, 0, 0, 0])),
    ("settimeofday", |_| call(libc::SYS_settimeofday, [0, 0, 0, 0, 0, 0])),
    ("sethostname", |_| call(libc::SYS_sethostname, [c"x".as_ptr() as c_long, 1, 0, 0, 0, 0])),
    ("iopl", |_| call(libc::SYS_iopl, [3, 0, 0, 0, 0, 0])),
    ("quotactl", |_| call(libc::SYS_quotactl, [0, 0, 0, 0, 0, 0])),
    ("fanotify-init", |_| call(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
    ("x32", |_| call(libc::SYS_getpid | 0x4000_0000, [0; 6])),
    ("unknown-call", |_| call(5000, [0; 6])),
    ("i386", |_| i386()),
    ("setuid-0", |_| call(libc::SYS_setuid, [0, 0, 0, 0, 0, 0])),
    ("setresuid-0", |_| call(libc::SYS_setresuid, [0, 0, 0, 0, 0, 0])),
    ("setgroups", |_| call(libc::SYS_setgroups, [0, 0, 0, 0, 0, 0])),
    ("chown-root", |a| {
        std::os::unix::fs::lchown(argument(a, 0, ""), Some(0), Some(0)).map(|()| String::new())
    }),
    ("seccomp-listener", |_| seccomp_listener()),
    ("tiocsti", |_| terminal_ioctl(libc::TIOCSTI, c"x".as_ptr() as c_long)),
    ("tioclinux", |_| terminal_ioctl(libc::TIOCLINUX, [2_u8].as_ptr() as c_long)),
    ("memfd-exec", |_| memfd_exec()),
    ("fork-bomb", fork_bomb),
    ("syscall", number),
];

fn call(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> Tried {
    // SAFETY: every caller above passes what the call takes, or what it refuses.
    checked(unsafe { libc::syscall(number, a, b, c, d, e, f) }).map(|answer| answer.to_string())
}

/// Any call by its number, with numeric arguments.
fn number(arguments: &[String]) -> Tried {
    let mut numbers = [0; 7];
    for (slot, text) in numbers.iter_mut().zip(arguments) {
        *slot = text.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    }
    let [number, a, b, c, d, e, f] = numbers;
    call(number, [a, b, c, d, e, f])
}

fn parent() -> c_int {
    // SAFETY: takes nothing.
    unsafe { libc::getppid() }
}

fn unshare(flags: c_int) -> Tried {
    call(libc::SYS_unshare, [flags.into(), 0, 0, 0, 0, 0])
}

fn clone_into(flags: c_int) -> Tried {
    // SAFETY: as `fork`; the child ends at once.
    let child = checked(unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) })?;
    end_if_child(child);
    Ok(String::new())
}

fn clone3(_: &[String]) -> Tried {
    let mut arguments = [0_u64; 11];
    arguments[0] = u64::try_from(libc::CLONE_NEWUSER).unwrap_or_default();
    arguments[4] = u64::try_from(libc::SIGCHLD).unwrap_or_default();
    // SAFETY: the arguments are as long as announced; the child ends at once.
    let child = checked(unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 88) })?;
    end_if_child(child);
    Ok(String::new())
}

fn end_if_child(answer: c_long) {
    if answer == 0 {
        // SAFETY: ends this process only.
        unsafe { libc::_exit(0) }
    }
}

fn setns(arguments: &[String]) -> Tried {
    let file = fs::File::open(argument(arguments, 0, "/proc/self/ns/user"))?;
    call(libc::SYS_setns, [file.as_raw_fd().into(), 0, 0, 0, 0, 0])
}

fn ptrace(id: c_int) -> Tried {
    const PTRACE_SEIZE: c_long = 0x4206;
    call(libc::SYS_ptrace, [PTRACE_SEIZE, id.into(), 0, 0, 0, 0])
}

fn process_vm_readv() -> Tried {
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(0x1000), iov_len: 1 };
    // SAFETY: the local vector is one byte of ours.
    let read = unsafe { libc::process_vm_readv(parent(), &raw const local, 1, &raw const remote, 1, 0) };
    checked(read as c_long).map(|_| String::new())
}

fn pidfd_getfd() -> Tried {
    // SAFETY: takes numbers.
    let pidfd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, parent(), 0) })?;
    call(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0, 0])
}

/// `kill PID SIGNAL`
fn kill(arguments: &[String]) -> Tried {
    let id: c_int = argument(arguments, 0, "1").parse().unwrap_or(1);
    let signal: c_int = argument(arguments, 1, "0").parse().unwrap_or(0);
    // SAFETY: takes numbers.
    checked(unsafe { libc::kill(id, signal) }.into()).map(|_| String::new())
}

fn mount() -> Tried {
    call(
        libc::SYS_mount,
        [c"none".as_ptr() as c_long, c"/tmp".as_ptr() as c_long, c"tmpfs".as_ptr() as c_long, 0, 0, 0],
    )
}

fn perf_event_open() -> Tried {
    let mut attributes = [0_u32; 32];
    attributes[1] = 128;
    call(libc::SYS_perf_event_open, [attributes.as_ptr() as c_long, 0, -1, -1, 0, 0])
}

fn io_uring() -> Tried {
    let parameters = [0_u64; 15];
    call(libc::SYS_io_uring_setup, [1, parameters.as_ptr() as c_long, 0, 0, 0, 0])
}

/// `getpid` by the 32-bit gate.
fn i386() -> Tried {
    let answer: i32;
    // SAFETY: the call takes nothing and changes only the register of its answer; where the kernel has no
    // such gate the process gets a signal, which is a refusal too.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20_i32 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer.to_string()) }
}

fn seccomp_listener() -> Tried {
    // One instruction: allow. With a listener of our own.
    let filter = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 };
    let mut filters = [filter];
    let program = libc::sock_fprog { len: 1, filter: filters.as_mut_ptr() };
    call(libc::SYS_seccomp, [1, 8, (&raw const program) as c_long, 0, 0, 0])
}

fn terminal_ioctl(request: libc::Ioctl, argument: c_long) -> Tried {
    // SAFETY: the argument points to what the request reads.
    checked(unsafe { libc::ioctl(0, request, argument) }.into()).map(|_| String::new())
}

/// A program that never had a name.
fn memfd_exec() -> Tried {
    let program = fs::read("/bin/true")?;
    // SAFETY: the name is a C string.
    let file = checked(unsafe { libc::memfd_create(c"x".as_ptr(), libc::MFD_CLOEXEC) }.into())?;
    let path = format!("/proc/self/fd/{file}");
    fs::write(&path, program)?;
    let status = std::process::Command::new(&path).status()?;
    Ok(status.to_string())
}

/// Forks until it is refused, at most so many; the children end with us.
fn fork_bomb(arguments: &[String]) -> Tried {
    let most: usize = argument(arguments, 0, "1000").parse().unwrap_or(1000);
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..most {
        // SAFETY: the child only waits for the signal that ends it.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            },
            child if child > 0 => children.push(child),
            _ => {
                refused = Some(io::Error::last_os_error());
                break;
            }
        }
    }
    for child in &children {
        // SAFETY: our own children.
        unsafe { libc::kill(*child, libc::SIGKILL) };
        // SAFETY: as above.
        unsafe { libc::waitpid(*child, std::ptr::null_mut(), 0) };
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(format!("{} processes", children.len())),
    }
}
