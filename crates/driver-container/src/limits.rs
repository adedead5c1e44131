//! `cpus` and `memory`, which the engine keeps: looked at in the container's own control groups before anything of the
//! agent's starts, since an engine without the right to limit makes the container all the same.

use std::{fs, path::Path};

use chiton_driver::{DriverError, Resources, Result};

use crate::{Engine, pids};

/// Where control groups are (cgroups(7)).
pub(crate) const GROUPS: &str = "/sys/fs/cgroup";

/// One limit, and the files that hold it: of version 1, in its controller's tree, and of version 2.
struct Limit {
    field: &'static str,
    controller: &'static str,
    first: &'static str,
    second: &'static str,
    asked: fn(&Resources) -> bool,
    /// Where it is asked.
    holds: fn(&str, &Resources) -> bool,
}

const LIMITS: [Limit; 2] = [
    Limit {
        field: "memory",
        controller: "memory",
        first: "memory.limit_in_bytes",
        second: "memory.max",
        asked: |resources| resources.memory.is_some(),
        holds: |text, resources| {
            let bytes = text.trim().parse::<u64>().ok();
            bytes.zip(resources.memory).is_some_and(|(bytes, asked)| bytes <= asked)
        },
    },
    Limit {
        field: "cpus",
        controller: "cpu",
        first: "cpu.cfs_quota_us",
        second: "cpu.max",
        // A quota is a number; none is `-1` or `max`.
        asked: |resources| resources.cpu_millis.is_some(),
        holds: |text, _| text.split_whitespace().next().is_some_and(|quota| quota.parse::<u64>().is_ok()),
    },
];

/// What is never kept, by name: `pids` where this gateway may not count them, the others where the engine is an ordinary
/// user's and no controller can be its own.
pub(crate) fn check(engine: &Engine, asked: &Resources) -> Result<()> {
    let delegated = fs::read_to_string(format!("{GROUPS}/cgroup.controllers")).unwrap_or_default();
    let rootless = engine.is_rootless();
    let lacks = |limit: &Limit| rootless && !delegated.split_whitespace().any(|has| has == limit.controller);
    let mut refused: Vec<_> =
        LIMITS.iter().filter(|limit| (limit.asked)(asked) && lacks(limit)).map(|limit| limit.field).collect();
    refused.extend(asked.pids.filter(|_| !pids::can_be_kept(engine)).map(|_| "pids"));
    match refused.as_slice() {
        [] => Ok(()),
        fields => Err(not_kept(engine, fields)),
    }
}

/// Whether everything that a policy can ask for is kept here.
pub(crate) fn keeps_all(engine: &Engine) -> bool {
    let each = Resources { cpu_millis: Some(1), memory: Some(1), pids: Some(1), ..Resources::default() };
    check(engine, &each).is_ok()
}

/// Whether the engine keeps them for this process.
pub(crate) fn verify(engine: &Engine, pid: i32, asked: &Resources) -> Result<()> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|source| DriverError::Io { doing: "cannot read the container's control groups", source })?;
    let missing = missing(&groups, Path::new(GROUPS), asked);
    if missing.is_empty() { Ok(()) } else { Err(not_kept(engine, &missing)) }
}

fn missing(groups: &str, root: &Path, asked: &Resources) -> Vec<&'static str> {
    let held = |limit: &Limit| {
        let texts = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let path = path.trim_start_matches('/');
            let file = if controllers.is_empty() {
                root.join(path).join(limit.second)
            } else if controllers.split(',').any(|one| one == limit.controller) {
                root.join(limit.controller).join(path).join(limit.first)
            } else {
                return None;
            };
            fs::read_to_string(file).ok()
        });
        let mut texts = texts.peekable();
        texts.peek().is_some() && texts.all(|text| (limit.holds)(&text, asked))
    };
    LIMITS.iter().filter(|limit| (limit.asked)(asked) && !held(limit)).map(|limit| limit.field).collect()
}

pub(crate) fn not_kept(engine: &Engine, fields: &[&str]) -> DriverError {
    let fields: Vec<_> = fields.iter().map(|field| format!("`static.resources.{field}`")).collect();
    DriverError::Unsupported(format!(
        "{} cannot be enforced by the driver `{}` on this machine: leave it out, or take `--driver native`",
        fields.join(", "),
        engine.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Resources =
        Resources { cpu_millis: Some(500), memory: Some(1 << 26), pids: None, disk: None, wall_time: None };

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn what_an_engine_does_not_keep_is_seen_in_either_version() {
        let first = "4:memory:/c\n1:cpu,cpuacct:/c\n0::/c\n";
        let kept = [("memory/c/memory.limit_in_bytes", "67108864\n"), ("cpu/c/cpu.cfs_quota_us", "50000\n")];
        assert!(missing(first, tree(&kept).path(), &ASKED).is_empty());
        let without =
            [("memory/c/memory.limit_in_bytes", "9223372036854771712"), ("cpu/c/cpu.cfs_quota_us", "-1")];
        assert_eq!(missing(first, tree(&without).path(), &ASKED), ["memory", "cpus"]);
        let second = "0::/c\n";
        let kept = [("c/memory.max", "67108864\n"), ("c/cpu.max", "50000 100000\n")];
        assert!(missing(second, tree(&kept).path(), &ASKED).is_empty());
        let without = [("c/memory.max", "max\n"), ("c/cpu.max", "max 100000\n")];
        assert_eq!(missing(second, tree(&without).path(), &ASKED), ["memory", "cpus"]);
        assert_eq!(missing(second, tree(&[]).path(), &ASKED), ["memory", "cpus"]);
        assert!(missing(second, tree(&[]).path(), &Resources::default()).is_empty());
    }
}
