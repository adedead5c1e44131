//! The first process of a container: whether it is what was ordered of the engine, which works as root and is led by an
//! image. A driver asks this of a process of its kernel, and a supervisor of itself where its driver cannot.

use std::{fs, io, path::Path};

use crate::mounts;

/// What was ordered.
#[derive(Clone, Copy, Debug)]
pub struct Ordered<'a> {
    /// Its only user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Groups that it may have besides.
    pub groups: &'a [u32],
    /// Where something may be mounted, beside what every engine mounts.
    pub mounts: &'a [&'a Path],
}

/// What of a process (its number, or `self`) is not so; none where all is.
///
/// # Errors
/// Where that cannot be read.
pub fn differs(process: &str, ordered: Ordered<'_>) -> io::Result<Option<String>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    if !is_first(&status) {
        return Ok(Some("it is not the first process of its container".to_owned()));
    }
    if !has_only(&status, ordered) {
        return Ok(Some("it has another user, or groups that its image gave to it".to_owned()));
    }
    Ok(mounts::foreign(process, ordered.mounts)?.map(|place| {
        format!(
            "its engine mounted `{place}` into it, which nobody asked for (`volumes` in Podman's containers.conf?): take \
             that out of the engine's configuration"
        )
    }))
}

/// Whether it is the first of its namespace: all others of the container end with it, and with none but it.
fn is_first(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
}

/// Whether it has this user's rights and no others: `/proc/PID/status`, proc_pid_status(5). Engines add the groups that
/// an image's `/etc/group` gives to whom it likes.
fn has_only(status: &str, Ordered { uid, gid, groups, .. }: Ordered<'_>) -> bool {
    let all = |name: &str, good: &dyn Fn(u32) -> bool| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.is_some_and(|line| line.split_whitespace().all(|id| id.parse().is_ok_and(good)))
    };
    all("Uid:", &|own| own == uid)
        && all("Gid:", &|own| own == gid)
        && all("Groups:", &|own| own == gid || groups.contains(&own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_an_image_is_a_right_too_many() {
        let has_only =
            |status: &str, groups: &[u32]| has_only(status, Ordered { uid: 7, gid: 8, groups, mounts: &[] });
        let status =
            |groups: &str| format!("Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t{groups} \n");
        assert!(has_only(&status(""), &[]));
        assert!(has_only(&status("8"), &[]));
        assert!(!has_only(&status("0"), &[]));
        assert!(!has_only(&status("8 999"), &[]));
        assert!(!has_only(&status("8 999"), &[10]));
        assert!(has_only(&status("8 10"), &[10]));
        assert!(!has_only("Uid:\t7\t7\t0\t7\nGid:\t8\t8\t8\t8\nGroups:\t\n", &[]));
        assert!(!has_only("Uid:\t7\t7\t7\t-\nGid:\t8\t8\t8\t8\nGroups:\t\n", &[]));
        assert!(!has_only("", &[]));
    }

    #[test]
    fn the_first_is_number_one_of_the_innermost_namespace() {
        assert!(is_first("NSpid:\t4711\t1\n") && is_first("NSpid:\t1\n"));
        assert!(!is_first("NSpid:\t1\t7\n") && !is_first("NSpid:\n") && !is_first(""));
    }
}
