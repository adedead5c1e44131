//! What can be seen: who we are, what is open, what else runs.

use std::{fs, io};

use crate::{Attempt, Tried, argument};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("ids", |_| ids()),
    ("descriptors", |_| descriptors()),
    ("processes", |_| processes()),
    ("environment", |_| Ok(std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect())),
    ("variable", |a| std::env::var(argument(a, 0, "")).map_err(|_| io::ErrorKind::NotFound.into())),
    ("mounts", |_| fs::read_to_string("/proc/self/mountinfo")),
    ("hostname", |_| fs::read_to_string("/proc/sys/kernel/hostname")),
    ("terminal", |_| terminal()),
    ("limits", |_| fs::read_to_string("/proc/self/limits")),
];

/// Identity, capabilities, `no_new_privs`, seccomp.
fn ids() -> Tried {
    let wanted =
        ["Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "Dumpable:"];
    let status = fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; "))
}

/// Open descriptors besides the one that reads the list.
fn descriptors() -> Tried {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if let Ok(target) = fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            found.push(format!("{}={}", entry.file_name().to_string_lossy(), target.display()));
        }
    }
    Ok(found.join(" "))
}

fn processes() -> Tried {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("{name}={}", command.trim_end()));
        }
    }
    Ok(found.join(" "))
}

/// The size of the terminal of standard input.
fn terminal() -> Tried {
    let size = rustix::termios::tcgetwinsize(io::stdin())?;
    Ok(format!("{} rows, {} columns", size.ws_row, size.ws_col))
}
