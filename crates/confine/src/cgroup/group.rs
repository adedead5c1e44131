//! The group of one sandbox: made, joined, read and removed.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::cgroup::{Controller, GroupError, GroupHits, GroupLimits, Version};

/// Where the supervisor is, where `pids` is limited by version 2.
const SUPERVISOR: &str = "supervisor";
/// Where the first process inside is, where `pids` is limited.
const INSIDE: &str = "inside";
/// The first process inside is ours, and not one of those that the agent may have.
const OWN_PIDS: u32 = 1;
/// The kernel takes no share of a period below a thousandth of a second.
const LEAST_QUOTA: u64 = 1000;
const PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 1_000_000;

/// The group of one sandbox. Plain data, to be written down before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub(super) limits: GroupLimits,
    pub(super) parts: Vec<Part>,
}

/// The group in one of the host's trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) version: Version,
    pub(super) folder: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// A file and what is written to it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    /// Kernels without swap accounting do not have it.
    optional: bool,
}

fn setting(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

impl Group {
    /// What it is held to.
    #[must_use]
    pub const fn limits(&self) -> &GroupLimits {
        &self.limits
    }

    /// Which interfaces it has, each once.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let has = |version: &Version| self.parts.iter().any(|part| part.version == *version);
        [Version::V1, Version::V2].into_iter().filter(has).collect()
    }

    /// Makes it, limits set, nobody in it. What an earlier one of the same name left is replaced.
    ///
    /// # Errors
    /// The kernel refused a step; [`Group::remove`] takes back what was made.
    pub fn make(&self) -> Result<(), GroupError> {
        for part in &self.parts {
            part.remove()?;
            fs::create_dir(&part.folder).map_err(failed("make", &part.folder))?;
            for below in part.below() {
                fs::create_dir(&below).map_err(failed("make", &below))?;
            }
            for setting in part.settings(&self.limits) {
                part.set(&setting)?;
            }
        }
        Ok(())
    }

    /// Puts the supervisor in, before it makes namespaces. What it starts is in as well.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn join(&self, pid: i32) -> Result<(), GroupError> {
        self.parts.iter().try_for_each(|part| enter(&part.supervisor(), pid))
    }

    /// Puts the first process inside where processes are counted, before it starts any.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn join_inside(&self, pid: i32) -> Result<(), GroupError> {
        self.parts.iter().filter(|part| part.counts()).try_for_each(|part| enter(&part.inside(), pid))
    }

    /// How often it ran into its limits. Nothing where it is gone.
    #[must_use]
    pub fn hits(&self) -> GroupHits {
        let mut hits = GroupHits::default();
        for part in &self.parts {
            for controller in &part.controllers {
                match (controller, part.version) {
                    (Controller::Cpu, _) => {}
                    (Controller::Memory, Version::V1) => {
                        hits.out_of_memory = count(&part.folder.join("memory.oom_control"), "oom_kill");
                    }
                    (Controller::Memory, Version::V2) => {
                        hits.out_of_memory = count(&part.folder.join("memory.events"), "oom_kill");
                    }
                    (Controller::Pids, _) => hits.pids = count(&part.inside().join("pids.events"), "max"),
                }
            }
        }
        hits
    }

    /// Removes it, once all of its processes have ended. One that is not there is fine.
    ///
    /// # Errors
    /// Something is still in it (`ResourceBusy`), or the kernel refused.
    pub fn remove(&self) -> Result<(), GroupError> {
        self.parts.iter().try_for_each(Part::remove)
    }
}

impl Part {
    fn counts(&self) -> bool {
        self.controllers.contains(&Controller::Pids)
    }

    fn inside(&self) -> PathBuf {
        self.folder.join(INSIDE)
    }

    fn supervisor(&self) -> PathBuf {
        match self.version {
            Version::V2 if self.counts() => self.folder.join(SUPERVISOR),
            Version::V1 | Version::V2 => self.folder.clone(),
        }
    }

    fn below(&self) -> Vec<PathBuf> {
        match (self.counts(), self.version) {
            (false, _) => Vec::new(),
            (true, Version::V1) => vec![self.inside()],
            (true, Version::V2) => vec![self.inside(), self.supervisor()],
        }
    }

    fn settings(&self, limits: &GroupLimits) -> Vec<Setting> {
        self.controllers.iter().flat_map(|controller| settings(*controller, self.version, limits)).collect()
    }

    fn set(&self, setting: &Setting) -> Result<(), GroupError> {
        let file = self.folder.join(setting.file);
        match write(&file, &setting.value) {
            Err(e) if setting.optional && e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(failed("limit", &file)),
        }
    }

    fn remove(&self) -> Result<(), GroupError> {
        let below = [self.folder.join(INSIDE), self.folder.join(SUPERVISOR)];
        for folder in below.iter().chain([&self.folder]) {
            match fs::remove_dir(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove", folder)(e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a limit is in the kernel's files, in the order in which they take it.
fn settings(controller: Controller, version: Version, limits: &GroupLimits) -> Vec<Setting> {
    let optional =
        |file, value: &dyn ToString| Setting { optional: true, ..setting(file, value.to_string()) };
    match (controller, version) {
        (Controller::Cpu, _) => {
            let Some((quota, period)) = limits.cpu_millis.map(share) else { return Vec::new() };
            match version {
                Version::V1 => vec![setting("cpu.cfs_period_us", period), setting("cpu.cfs_quota_us", quota)],
                Version::V2 => vec![setting("cpu.max", format!("{quota} {period}"))],
            }
        }
        (Controller::Memory, Version::V1) => limits.memory.map_or_else(Vec::new, |bytes| {
            // The second is of memory and swap together, and never below the first.
            vec![setting("memory.limit_in_bytes", bytes), optional("memory.memsw.limit_in_bytes", &bytes)]
        }),
        (Controller::Memory, Version::V2) => limits.memory.map_or_else(Vec::new, |bytes| {
            vec![setting("memory.max", bytes), optional("memory.swap.max", &0)]
        }),
        (Controller::Pids, _) => limits.pids.map_or_else(Vec::new, |pids| {
            let most = setting("inside/pids.max", pids.saturating_add(OWN_PIDS));
            match version {
                Version::V1 => vec![most],
                Version::V2 => vec![setting("cgroup.subtree_control", "+pids"), most],
            }
        }),
    }
}

/// So many microseconds of each period of so many.
fn share(millis: u32) -> (u64, u64) {
    let of = |period: u64| u64::from(millis) * period / 1000;
    let period = if of(PERIOD) >= LEAST_QUOTA { PERIOD } else { LONGEST_PERIOD };
    (of(period), period)
}

fn enter(folder: &Path, pid: i32) -> Result<(), GroupError> {
    let file = folder.join("cgroup.procs");
    write(&file, &pid.to_string()).map_err(failed("join", &file))
}

/// Writes to a file of the kernel's; none is made where there is none.
pub(super) fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).truncate(true).open(file)?.write_all(value.as_bytes())
}

fn count(file: &Path, word: &str) -> u64 {
    chiton_sys::cgroup::count(&fs::read_to_string(file).unwrap_or_default(), word)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GroupError {
    move |source| GroupError { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GroupLimits =
        GroupLimits { cpu_millis: Some(1500), memory: Some(256 << 20), pids: Some(64) };

    fn written(version: Version, limits: &GroupLimits) -> Vec<(&'static str, String)> {
        let all = Controller::ALL.into_iter().flat_map(|controller| settings(controller, version, limits));
        all.map(|setting| (setting.file, setting.value)).collect()
    }

    #[test]
    fn each_limit_is_the_kernels_own_in_both_versions() {
        let text = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(file, value)| (*file, (*value).to_owned())).collect()
        };
        let second = [
            ("cpu.max", "150000 100000"),
            ("memory.max", "268435456"),
            ("memory.swap.max", "0"),
            ("cgroup.subtree_control", "+pids"),
            ("inside/pids.max", "65"),
        ];
        assert_eq!(written(Version::V2, &LIMITS), text(&second));
        let first = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("memory.limit_in_bytes", "268435456"),
            ("memory.memsw.limit_in_bytes", "268435456"),
            ("inside/pids.max", "65"),
        ];
        assert_eq!(written(Version::V1, &LIMITS), text(&first));
        assert!(written(Version::V2, &GroupLimits::default()).is_empty());
    }

    #[test]
    fn a_small_share_of_a_processor_is_of_a_longer_period() {
        assert_eq!(share(2000), (200_000, 100_000));
        assert_eq!(share(10), (1000, 100_000));
        assert_eq!(share(9), (9000, 1_000_000));
        assert_eq!(share(1), (1000, 1_000_000));
        assert_eq!(share(u32::MAX).1, 100_000);
    }

    #[test]
    fn hits_are_read_where_the_kernel_counts_them() {
        let folder = tempfile::tempdir().unwrap();
        for (version, name, text) in [
            (Version::V2, "memory.events", "low 0\nhigh 0\nmax 93\noom 4\noom_kill 3\noom_group_kill 0\n"),
            (Version::V1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ] {
            let part = |controllers: &[Controller], name: &str| Part {
                version,
                folder: folder.path().join(name),
                controllers: controllers.to_vec(),
            };
            let group = Group {
                limits: LIMITS,
                parts: vec![part(&[Controller::Memory], "memory"), part(&[Controller::Pids], "pids")],
            };
            assert_eq!(group.hits(), GroupHits::default());
            fs::create_dir_all(folder.path().join("memory")).unwrap();
            fs::create_dir_all(folder.path().join("pids/inside")).unwrap();
            fs::write(folder.path().join("memory").join(name), text).unwrap();
            fs::write(folder.path().join("pids/inside/pids.events"), "max 12\n").unwrap();
            assert_eq!(group.hits(), GroupHits { out_of_memory: 3, pids: 12 });
            fs::remove_dir_all(folder.path().join("memory")).unwrap();
            fs::remove_dir_all(folder.path().join("pids")).unwrap();
        }
    }

    #[test]
    fn a_limit_that_the_kernel_does_not_take_is_an_error_unless_it_is_about_swap() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part {
            version: Version::V2,
            folder: folder.path().into(),
            controllers: vec![Controller::Memory],
        };
        let error = part.set(&setting("memory.max", 1)).unwrap_err();
        assert!(error.to_string().contains("memory.max"), "{error}");
        part.set(&Setting { optional: true, ..setting("memory.swap.max", 0) }).unwrap();
    }
}
