//! Where this process may make groups, controller by controller, and what to do where it may not.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::cgroup::{
    Controller, Group, GroupLimits, Version,
    group::{Part, write},
};

/// The leaf for this program itself, in a group that was delegated to it whole.
const LEAF: &str = "chiton-gateway";

/// Where groups can be made.
#[derive(Clone, Debug, Default)]
pub struct GroupHost {
    places: BTreeMap<Controller, Place>,
    /// What the host has, whether or not it is ours to use.
    seen: BTreeMap<Controller, Version>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    folder: PathBuf,
}

/// Controllers that are asked for, and that this process cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which.
    pub controllers: Vec<Controller>,
    /// Where the host has them.
    version: Option<Version>,
}

impl GroupHost {
    /// Looks. Some file reads; nothing is changed.
    #[must_use]
    pub fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    fn of(mounts: &str, own: &str) -> Self {
        let mut host = Self::default();
        let trees: Vec<Tree> = mounts.lines().filter_map(Tree::parse).collect();
        for tree in &trees {
            match &tree.controllers {
                Some(controllers) => host.look_at_v1(tree, controllers, own),
                None => host.look_at_v2(tree, own),
            }
        }
        host
    }

    fn look_at_v2(&mut self, tree: &Tree, own: &str) {
        let has = listed(&tree.point.join("cgroup.controllers"));
        self.seen.extend(has.into_iter().map(|controller| (controller, Version::V2)));
        let Some(folder) = own_path(own, None).and_then(|path| tree.folder(path)) else { return };
        let above = folder.ancestors().take_while(|folder| folder.starts_with(&tree.point));
        let mut best: (Vec<Controller>, &Path) = (Vec::new(), &folder);
        // The nearest of those with the most.
        for folder in above.filter(|folder| is_ours(folder)) {
            let given = listed(&folder.join("cgroup.subtree_control"));
            if given.len() > best.0.len() {
                best = (given, folder);
            }
        }
        let (controllers, folder) = best;
        for controller in controllers {
            self.places.insert(controller, Place { version: Version::V2, folder: folder.to_owned() });
        }
    }

    fn look_at_v1(&mut self, tree: &Tree, controllers: &[Controller], own: &str) {
        for &controller in controllers {
            // A controller is in one tree at a time.
            self.seen.entry(controller).or_insert(Version::V1);
            let path = own_path(own, Some(controller));
            let Some(folder) = path.and_then(|path| tree.folder(path)).filter(|f| is_writable(f)) else {
                continue;
            };
            self.places.entry(controller).or_insert(Place { version: Version::V1, folder });
        }
    }

    /// Whether this controller can be used.
    #[must_use]
    pub fn can(&self, controller: Controller) -> bool {
        self.places.contains_key(&controller)
    }

    /// By which version, where it can be used.
    #[must_use]
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.places.get(&controller).map(|place| place.version)
    }

    /// What of these this process cannot use; none where it can use all.
    #[must_use]
    pub fn lacks(&self, controllers: &[Controller]) -> Option<Lacking> {
        let lacking: Vec<_> = controllers.iter().copied().filter(|c| !self.can(*c)).collect();
        let version = lacking.first().and_then(|first| self.seen.get(first).copied());
        (!lacking.is_empty()).then_some(Lacking { controllers: lacking, version })
    }

    /// The group of this name, not made yet. Controllers that cannot be used are left out: ask [`GroupHost::lacks`] first.
    #[must_use]
    pub fn group(&self, name: &str, limits: GroupLimits) -> Group {
        let mut parts: Vec<Part> = Vec::new();
        for controller in limits.controllers() {
            let Some(Place { version, folder }) = self.places.get(&controller) else { continue };
            let folder = folder.join(name);
            match parts.iter_mut().find(|part| part.folder == folder) {
                Some(part) => part.controllers.push(controller),
                None => parts.push(Part { version: *version, folder, controllers: vec![controller] }),
            }
        }
        Group { limits, parts }
    }
}

impl Lacking {
    /// Why.
    #[must_use]
    pub const fn why(&self) -> &'static str {
        match self.version {
            Some(Version::V2) => "no control group with these controllers is delegated to this user",
            Some(Version::V1) => {
                "the control groups of this machine are of version 1, which only root may use, where they are mounted \
                 to be written"
            }
            None => "no control groups with these controllers are mounted",
        }
    }

    /// What mends it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self.version {
            Some(Version::V2) => {
                "chiton gateway stop; systemd-run --user --scope -p Delegate=yes chiton gateway start; where that does \
                 not give them, once: sudo mkdir -p /etc/systemd/system/user@.service.d && printf \
                 '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/chiton.conf \
                 && sudo systemctl daemon-reload, and log in anew"
            }
            Some(Version::V1) => {
                "run chiton as root, or start the machine with systemd.unified_cgroup_hierarchy=1 on the kernel's \
                 command line"
            }
            None => {
                "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container, start it with its own cgroup writable"
            }
        }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.controllers.iter().map(|controller| controller.as_str()).collect();
        write!(f, "{} ({})", self.why(), names.join(", "))
    }
}

/// A mounted tree.
struct Tree {
    /// Of version 1: its controllers that are used here.
    controllers: Option<Vec<Controller>>,
    /// What of the tree is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Tree {
    /// A line of `mountinfo`, where it is one of a tree.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let controllers = match after.next()? {
            "cgroup2" => None,
            "cgroup" => Some(named(after.nth(1)?.split(','))),
            _ => return None,
        };
        let mut before = before.split(' ').skip(3);
        Some(Self { controllers, root: before.next()?.into(), point: before.next()?.into() })
    }

    /// Where a group of the tree is seen; nowhere where it is not below what is mounted.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        plain.then(|| self.point.join(below))
    }
}

/// This process's group in the tree of this controller, or of version 2.
fn own_path(own: &str, controller: Option<Controller>) -> Option<&str> {
    own.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let found = match controller {
            None => number == "0",
            Some(controller) => names.split(',').any(|name| name == controller.as_str()),
        };
        found.then_some(path)
    })
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Controller> {
    let known = |name: &str| Controller::ALL.into_iter().find(|controller| controller.as_str() == name);
    names.filter_map(known).collect()
}

fn listed(file: &Path) -> Vec<Controller> {
    named(fs::read_to_string(file).unwrap_or_default().split_whitespace())
}

fn is_writable(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether groups can be made below a folder of version 2, and processes of ours be put into them.
fn is_ours(folder: &Path) -> bool {
    is_writable(folder) && is_writable(&folder.join("cgroup.procs"))
}

/// Where this process's group of version 2 was delegated to it, and holds nothing but this program: puts it into a leaf,
/// so that groups with limits can stand beside it, which the kernel allows only where none holds processes. Anywhere else
/// nothing is done. Before this process starts others.
pub fn settle() {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
    let tree = mounts.lines().filter_map(Tree::parse).find(|tree| tree.controllers.is_none());
    let folder = own_path(&own, None).and_then(|path| tree?.folder(path));
    if let Some(folder) = folder.filter(|folder| is_ours(folder)) {
        settle_in(&folder, is_this_program);
    }
}

fn settle_in(folder: &Path, is_this_program: impl Fn(&str) -> bool) {
    let control = folder.join("cgroup.subtree_control");
    let given = listed(&control);
    let missing: Vec<_> =
        listed(&folder.join("cgroup.controllers")).into_iter().filter(|c| !given.contains(c)).collect();
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let processes: Vec<_> = processes.lines().collect();
    if missing.is_empty() || processes.is_empty() || !processes.iter().all(|pid| is_this_program(pid)) {
        return;
    }
    let leaf = folder.join(LEAF);
    let made = fs::create_dir(&leaf);
    if made.is_err() && !leaf.is_dir() {
        return;
    }
    // One that has ended meanwhile is not there to be moved.
    processes.iter().for_each(|pid| drop(write(&leaf.join("cgroup.procs"), pid)));
    // Each by itself: what is refused keeps no other away, and is told where it is asked for.
    missing.iter().for_each(|controller| drop(write(&control, &format!("+{controller}"))));
}

fn is_this_program(pid: &str) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    of(pid).is_some_and(|program| Some(program) == of("self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pretended host: plain files where the kernel has its own.
    struct Pretended(tempfile::TempDir);

    impl Pretended {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().join(below)
        }

        /// A group of version 2 with these controllers, of which these are given to those below.
        fn group(&self, below: &str, controllers: &str, given: &str) {
            let folder = self.path(below);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in
                [("cgroup.controllers", controllers), ("cgroup.subtree_control", given), ("cgroup.procs", "")]
            {
                fs::write(folder.join(file), text).unwrap();
            }
        }

        fn v2(&self, own: &str) -> GroupHost {
            let mounts = format!("30 24 0:26 / {} rw - cgroup2 cgroup2 rw\n", self.path("").display());
            GroupHost::of(&mounts, &format!("0::{own}\n"))
        }
    }

    #[test]
    fn the_nearest_group_that_gives_the_most_is_taken() {
        let host = Pretended::new();
        host.group("", "cpu memory pids io", "");
        host.group("user", "cpu memory pids", "memory pids");
        host.group("user/app", "memory pids", "memory pids");
        host.group("user/app/term", "memory pids", "");
        let found = host.v2("/user/app/term");
        let app = host.path("user/app/");
        let group =
            found.group("chiton-x", GroupLimits { memory: Some(1), pids: Some(2), ..Default::default() });
        assert_eq!(group.parts.len(), 1);
        assert_eq!(group.parts.first().unwrap().folder, app.join("chiton-x"));
        let lacking = found.lacks(&Controller::ALL).unwrap();
        assert_eq!(
            (lacking.controllers.as_slice(), lacking.version),
            (&[Controller::Cpu][..], Some(Version::V2))
        );
        assert!(lacking.mend().contains("Delegate"));
        assert!(found.lacks(&[Controller::Memory, Controller::Pids]).is_none());
    }

    #[test]
    fn without_delegation_nothing_is_there() {
        let host = Pretended::new();
        host.group("", "cpu memory pids", "");
        host.group("session", "cpu memory pids", "");
        assert_eq!(host.v2("/session").lacks(&Controller::ALL).unwrap().controllers.len(), 3);
        // Outside of what is mounted, as a namespace shows it.
        assert!(host.v2("/../other").lacks(&[Controller::Memory]).is_some());
    }

    #[test]
    fn each_tree_of_version_1_has_its_own_path() {
        let host = Pretended::new();
        for folder in ["memory/a", "cpu/b", "pids"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        let at = |name: &str| host.path(name).display().to_string();
        let mounts = format!(
            "35 31 0:32 / {} rw - cgroup cgroup rw,memory\n32 31 0:29 /docker/x {} rw,relatime - cgroup cgroup \
             rw,cpu,cpuacct\n39 31 0:36 / {} rw - cgroup none rw,pids\n40 31 0:37 / {} rw - cgroup2 cgroup2 rw\n",
            at("memory"),
            at("cpu"),
            at("pids"),
            at("unified"),
        );
        let own = "9:name=systemd:/\n8:pids:/\n4:memory:/a\n1:cpu,cpuacct:/docker/x/b\n0::/\n";
        let found = GroupHost::of(&mounts, own);
        assert_eq!(found.lacks(&Controller::ALL), None);
        let limits = GroupLimits { cpu_millis: Some(500), memory: Some(1), pids: Some(2) };
        let group = found.group("chiton-x", limits);
        let folders: Vec<_> = group.parts.iter().map(|part| part.folder.clone()).collect();
        let wanted = ["cpu/b/chiton-x", "memory/a/chiton-x", "pids/chiton-x"].map(|name| host.path(name));
        assert_eq!(folders, wanted);
        assert!(Controller::ALL.iter().all(|controller| found.version(*controller) == Some(Version::V1)));
        let nowhere = GroupHost::of("", own).lacks(&[Controller::Cpu]).unwrap();
        assert!(nowhere.to_string().contains("cpu") && nowhere.mend().contains("mount"));
    }

    #[test]
    fn a_delegated_group_of_this_program_alone_is_made_ready() {
        let host = Pretended::new();
        host.group("scope", "cpu memory pids", "");
        fs::write(host.path("scope/cgroup.procs"), "7\n8\n").unwrap();
        host.group("scope/chiton-gateway", "", "");
        let leaf = || fs::read_to_string(host.path("scope/chiton-gateway/cgroup.procs")).unwrap();
        let control = || fs::read_to_string(host.path("scope/cgroup.subtree_control")).unwrap();
        settle_in(&host.path("scope"), |pid| pid == "7");
        assert_eq!((leaf().as_str(), control().as_str()), ("", ""));
        settle_in(&host.path("scope"), |_| true);
        // Each write is a step for the kernel; a plain file keeps the last.
        assert_eq!((leaf().as_str(), control().as_str()), ("8", "+pids"));
    }
}
