//! What a container has mounted: what was ordered, and what every engine makes for every container. An engine's own
//! configuration may add folders of this machine (`volumes` of containers.conf(5)) that it does not tell of.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, open, openat2, statx};

/// The image's own files, and the kernel's.
const KERNELS: &[&str] =
    &["/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console"];
/// Control groups of version 1 have one each below it.
const GROUPS: &str = "/sys/fs/cgroup";
/// What a rootless engine, which cannot make nodes, takes from this machine.
const NODES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// What engines write for each container. An image may have links there.
const WRITTEN: &[&str] =
    &["/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/run/.containerenv", "/run/secrets"];

/// Where a process (its number, or `self`) has something mounted that is at none of these places, and is no engine's usual.
pub(crate) fn foreign(process: &str, ordered: &[&Path]) -> io::Result<Option<String>> {
    let root = open(format!("/proc/{process}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let places = WRITTEN.iter().map(Path::new).chain(ordered.iter().copied());
    // What cannot be looked at is known by its name alone.
    let numbers: Vec<_> = places.filter_map(|place| mounted_at(&root, place).ok()).collect();
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    Ok(find(&text, |number, place| {
        numbers.contains(&number) || ordered.contains(&Path::new(place)) || WRITTEN.contains(&place)
    }))
}

/// The number of the mount that a path is in, links followed as the process would.
fn mounted_at(root: &OwnedFd, path: &Path) -> io::Result<u64> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// `/proc/PID/mountinfo`, proc_pid_mountinfo(5): the first field is the mount's number, the fifth its place.
fn find(text: &str, known: impl Fn(u64, &str) -> bool) -> Option<String> {
    let usual = |place: &str| {
        KERNELS.contains(&place) || NODES.contains(&place) || Path::new(place).starts_with(GROUPS)
    };
    text.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let number = fields.next().and_then(|number| number.parse().ok());
        let place = fields.nth(3).unwrap_or(line);
        let known = usual(place) || number.is_some_and(|number| known(number, place));
        (!known).then(|| place.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_number_or_is_every_containers() {
        let text = "\
500 400 0:50 / / rw,relatime - overlay overlay rw
501 500 0:51 / /proc rw - proc proc rw
502 500 0:52 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
503 500 8:1 /home/joe/work /.chiton-1/workspace rw - ext4 /dev/vda rw
504 500 8:1 /etc/shadow /etc/resolv.conf rw - ext4 /dev/vda rw
";
        let find = |text: &str, numbers: &[u64]| find(text, |number, _| numbers.contains(&number));
        assert_eq!(find(text, &[503, 504]), None);
        assert_eq!(find(text, &[503]).as_deref(), Some("/etc/resolv.conf"));
        assert_eq!(find(text, &[504]).as_deref(), Some("/.chiton-1/workspace"));
        let more = format!("{text}505 500 8:1 /srv /data\\040x ro - ext4 /dev/vda rw\n");
        assert_eq!(find(&more, &[503, 504]).as_deref(), Some("/data\\040x"));
        assert_eq!(find("what is this", &[]).as_deref(), Some("what is this"));
    }

    #[test]
    fn a_mount_is_found_by_way_of_a_link() {
        let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        assert_eq!(mounted_at(&root, &link).unwrap(), mounted_at(&root, Path::new("/proc")).unwrap());
        assert_ne!(mounted_at(&root, &link).unwrap(), mounted_at(&root, folder.path()).unwrap());
    }
}
