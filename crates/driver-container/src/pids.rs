//! `pids`. An engine counts every thread of a container, and so those that judge the agent's lookups: a fork bomb would
//! take their room. So the first process inside, and all that come from it, are counted in a group of their own below
//! the container's, made by who has the right to; the engine removes it with the container's (docs/decisions/0037).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chiton_driver::{DriverError, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Engine,
    limits::{GROUPS, not_kept},
};

const CONTROLLER: &str = "pids";
/// As the native driver names them, for the same: the supervisor looks for the first.
const INSIDE: &str = "inside";
const SUPERVISOR: &str = "supervisor";
/// The first process inside is ours, and not one of those that the agent may have.
const OWN: u32 = 1;

/// The group in which the agent's processes are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    folder: PathBuf,
}

/// Whether this gateway may make such a group: as root, or where version 2 gives this user's own engine the controller.
pub(crate) fn can_be_kept(engine: &Engine) -> bool {
    let second = fs::read_to_string(format!("{GROUPS}/cgroup.controllers")).unwrap_or_default();
    let second = second.split_whitespace().any(|name| name == CONTROLLER);
    let root = rustix::process::geteuid().is_root();
    if engine.sidecar {
        // Its groups are on another kernel.
        return false;
    }
    if root { second || Path::new(GROUPS).join(CONTROLLER).is_dir() } else { second && engine.is_rootless() }
}

impl Counted {
    /// Makes the group below that of the container's first process, which has no child yet.
    pub(crate) fn make(engine: &Engine, process: i32, most: u32) -> Result<Self> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup"));
        let groups = groups.map_err(failed("cannot read the container's control groups"))?;
        let (container, second) =
            find(&groups, Path::new(GROUPS)).ok_or_else(|| not_kept(engine, &[CONTROLLER]))?;
        make(&container, second, most).map_err(failed("cannot limit `pids` in the container's control group"))
    }

    /// Puts the first process inside in, before it starts any.
    pub(crate) fn join(&self, first: i32) -> Result<()> {
        let joined = fs::write(self.folder.join("cgroup.procs"), first.to_string());
        joined.map_err(failed("cannot count the sandbox's processes"))
    }

    /// How many processes and threads were not begun so far. None where it is gone.
    pub(crate) fn hits(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("pids.events")).unwrap_or_default();
        chiton_sys::cgroup::count(&text, "max")
    }
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    move |source| DriverError::Io { doing, source }
}

/// The container's group of the tree that has the controller, and whether that is of version 2. An engine's own limit is
/// there already, which tells that the group is the container's alone.
fn find(groups: &str, root: &Path) -> Option<(PathBuf, bool)> {
    let found = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            Some((root.join(path), true))
        } else {
            let counts = controllers.split(',').any(|one| one == CONTROLLER);
            counts.then(|| (root.join(CONTROLLER).join(path), false))
        }
    });
    found
        .filter(|(folder, _)| {
            fs::read_to_string(folder.join("pids.max")).is_ok_and(|most| most.trim().parse::<u32>().is_ok())
        })
        .max_by_key(|(_, second)| !second)
}

fn make(container: &Path, second: bool, most: u32) -> io::Result<Counted> {
    let folder = container.join(INSIDE);
    fs::create_dir(&folder)?;
    if second {
        // A group that gives controllers on holds no process itself.
        let supervisor = container.join(SUPERVISOR);
        fs::create_dir(&supervisor)?;
        for process in fs::read_to_string(container.join("cgroup.procs"))?.lines() {
            fs::write(supervisor.join("cgroup.procs"), process)?;
        }
        fs::write(container.join("cgroup.subtree_control"), "+pids")?;
    }
    fs::write(folder.join("pids.max"), most.saturating_add(OWN).to_string())?;
    Ok(Counted { folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("pids.max"), "1044\n").unwrap();
        }
        root
    }

    #[test]
    fn the_containers_own_group_is_found_in_either_version() {
        let first = "8:pids:/d/c\n4:memory:/d/c\n0::/d/c\n";
        let root = tree(&["pids/d/c"]);
        assert_eq!(find(first, root.path()), Some((root.path().join("pids/d/c"), false)));
        let root = tree(&["d/c"]);
        assert_eq!(find("0::/d/c\n", root.path()), Some((root.path().join("d/c"), true)));
        // A group that the engine did not limit is not known to be the container's.
        fs::write(root.path().join("d/c/pids.max"), "max\n").unwrap();
        assert_eq!(find("0::/d/c\n", root.path()), None);
        assert_eq!(find("0::/gone\n", root.path()), None);
    }

    /// The kernel makes the files of a group with its folder; here they are made by being written.
    #[test]
    fn the_agents_processes_are_counted_beside_the_supervisors() {
        let root = tree(&["c"]);
        let container = root.path().join("c");
        fs::write(container.join("cgroup.procs"), "41\n").unwrap();
        let counted = make(&container, true, 20).unwrap();
        let read = |file: &str| fs::read_to_string(container.join(file)).unwrap();
        assert_eq!(
            (read("supervisor/cgroup.procs"), read("cgroup.subtree_control")),
            ("41".into(), "+pids".into())
        );
        assert_eq!(read("inside/pids.max"), "21");
        counted.join(43).unwrap();
        assert_eq!(read("inside/cgroup.procs"), "43");
        assert_eq!(counted.hits(), 0);
        fs::write(container.join("inside/pids.events"), "max 3\n").unwrap();
        assert_eq!(counted.hits(), 3);
        let other = tree(&["c"]);
        make(&other.path().join("c"), false, 20).unwrap();
        assert!(!other.path().join("c/supervisor").exists());
    }
}
