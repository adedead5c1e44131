//! The first process of a container looks at itself, where its driver cannot: before it takes anything, it is what was
//! ordered of the engine.

use std::{fs, path::Path};

use chiton_api::ordered::Ordered;
use chiton_sys::mounts;

/// Where a container has its own limits: of version 1, and of version 2.
const MEMORY: [&str; 2] = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"];
const CPUS: [&str; 2] = ["/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"];

/// What is not as it was ordered.
pub(crate) fn differs(ordered: &Ordered) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let first = |paths: [&str; 2]| paths.iter().find_map(|path| fs::read_to_string(path).ok());
    if std::process::id() != 1 {
        return Some("it is not the first process of its container".to_owned());
    }
    if !has_only(ordered, &status) {
        return Some("it has another user, or groups that its image gave to it".to_owned());
    }
    if let Some(differs) = limits(ordered, first(MEMORY), first(CPUS)) {
        return Some(differs.to_owned());
    }
    let mounts: Vec<_> = ordered.mounts.iter().map(Path::new).collect();
    match mounts::foreign("self", &mounts) {
        Ok(None) => None,
        Ok(Some(place)) => Some(format!("its engine mounted `{place}` into it, which nobody asked for")),
        Err(_) => Some("what its engine mounted into it cannot be seen".to_owned()),
    }
}

fn has_only(ordered: &Ordered, status: &str) -> bool {
    let all = |name: &str, wanted: u32| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.is_some_and(|line| line.split_whitespace().all(|id| id.parse() == Ok(wanted)))
    };
    all("Uid:", ordered.uid) && all("Gid:", ordered.gid) && all("Groups:", ordered.gid)
}

fn limits(ordered: &Ordered, memory: Option<String>, cpus: Option<String>) -> Option<&'static str> {
    let word =
        |text: Option<String>| text.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    if ordered.memory.is_some_and(|most| word(memory).is_none_or(|bytes| bytes > most)) {
        return Some("its engine does not keep `static.resources.memory`: leave it out");
    }
    // A quota is a number; none is `-1` or `max`.
    if ordered.cpus && word(cpus).is_none() {
        return Some("its engine does not keep `static.resources.cpus`: leave it out");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERED: Ordered = Ordered { uid: 7, gid: 8, memory: Some(4096), cpus: true, mounts: Vec::new() };

    #[test]
    fn a_group_of_an_image_is_a_right_too_many() {
        let status = |ids: &str, groups: &str| {
            format!("Name:\tx\nUid:\t{ids}\nGid:\t8\t8\t8\t8\nGroups:\t{groups} \n")
        };
        assert!(has_only(&ORDERED, &status("7\t7\t7\t7", "")));
        assert!(has_only(&ORDERED, &status("7\t7\t7\t7", "8")));
        assert!(!has_only(&ORDERED, &status("7\t7\t7\t7", "8 999")));
        assert!(!has_only(&ORDERED, &status("7\t7\t0\t7", "")));
        assert!(!has_only(&ORDERED, ""));
    }

    #[test]
    fn a_limit_that_is_not_there_is_seen() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(limits(&ORDERED, text("4096\n"), text("50000 100000\n")), None);
        assert!(limits(&ORDERED, text("max\n"), text("50000\n")).unwrap().contains("memory"));
        assert!(limits(&ORDERED, None, text("50000\n")).unwrap().contains("memory"));
        for none in [text("-1\n"), text("max 100000\n"), None] {
            assert!(limits(&ORDERED, text("4096\n"), none).unwrap().contains("cpus"));
        }
        assert_eq!(limits(&Ordered { memory: None, cpus: false, ..ORDERED }, None, None), None);
    }
}
