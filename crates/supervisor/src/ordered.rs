//! The first process of a container looks at itself, where its driver cannot: before it takes anything, it is what was
//! ordered of the engine.

use std::{fs, path::Path};

use chiton_api::ordered::Ordered;
use chiton_sys::first;

/// Where a container has its own limits: of version 1, and of version 2.
const MEMORY: [&str; 2] = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"];
const CPUS: [&str; 2] = ["/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"];

/// What is not as it was ordered.
pub(crate) fn differs(ordered: &Ordered) -> Option<String> {
    let mounts: Vec<_> = ordered.mounts.iter().map(Path::new).collect();
    let own = first::Ordered { uid: ordered.uid, gid: ordered.gid, groups: &[], mounts: &mounts };
    match first::differs("self", own) {
        Ok(None) => {}
        Ok(differs) => return differs,
        Err(error) => return Some(format!("what its engine made of it cannot be seen: {error}")),
    }
    let read = |paths: [&str; 2]| paths.iter().find_map(|path| fs::read_to_string(path).ok());
    limits(ordered, read(MEMORY), read(CPUS)).map(str::to_owned)
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
