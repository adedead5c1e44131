//! Joining the parts of a plan.

use std::path::{Component, Path, PathBuf};

use crate::{
    folders::{Access, Folder, FolderRequest},
    locks::{LandlockPlan, Right},
    plan::{
        ConfinementPlan, HOME, Limits, PRIVATE, PlanError, PlanInputs, StaticRules, WORKSPACE, etc, protect,
        system,
    },
    probe::HostFacts,
    seccomp::SeccompPlan,
    view::{Source, Step},
};

/// Space of `/tmp` and of the home, each, and of `/dev/shm`.
const MEMORY: u64 = 2 << 30;
const SHARED_MEMORY: u64 = 256 << 20;
const INODES: u64 = 200_000;

/// Limits that every sandbox has.
const LIMITS: Limits = Limits { core: 0, descriptors: 65_536, processes: 4096 };

/// Threads of the supervisor that are its user's too, at most: those of a few programs, each with its lookups.
const OWN_PROCESSES: u64 = 1024;

/// Without these a started program could not even begin, or could not be handed over to its listener.
const STARTING: &[(i64, &str)] = &[
    (libc::SYS_execve, "execve"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_write, "write"),
    (libc::SYS_close, "close"),
];

/// Plans the confinement of one sandbox.
pub fn plan(
    rules: &StaticRules,
    facts: &HostFacts,
    inputs: &PlanInputs,
) -> Result<ConfinementPlan, PlanError> {
    if facts.landlock_abi == 0 {
        return Err(PlanError::NoLandlock);
    }
    let request = folders(rules, inputs)?;
    let folders = request.folders.as_slice();
    let programs = system::programs(inputs.system)?;
    let temporary = Private::of(rules);
    let seccomp = SeccompPlan::new(rules.blocked_calls.iter().copied(), facts.wait_killable());
    refuse_unstartable(&seccomp)?;
    Ok(ConfinementPlan {
        host_name: inputs.name.clone(),
        identity: inputs.identity,
        uid: inputs.uid,
        gid: inputs.gid,
        view: view(rules, inputs, (&programs, folders), temporary)?,
        limits: limits(rules),
        landlock: landlock(facts, inputs, (&programs, folders), temporary),
        seccomp,
        folders: request,
    })
}

/// The limit of the sandbox's user stands where no control group counts, or above what the group allows.
fn limits(rules: &StaticRules) -> Limits {
    let asked = rules.pids.map_or(0, |pids| u64::from(pids) + OWN_PROCESSES);
    Limits { processes: LIMITS.processes.max(asked), ..LIMITS }
}

/// Whether `/tmp` can be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Private {
    Writable,
    ReadOnly,
}

impl Private {
    fn of(rules: &StaticRules) -> Self {
        let listed = rules.allowed.iter().any(|path| path.starts_with("/tmp"));
        if listed { Self::Writable } else { Self::ReadOnly }
    }
}

fn refuse_unstartable(seccomp: &SeccompPlan) -> Result<(), PlanError> {
    let blocked = |number: i64| u32::try_from(number).is_ok_and(|number| seccomp.is_blocked(number));
    match STARTING.iter().find(|(number, _)| blocked(*number)) {
        Some((_, name)) => Err(PlanError::BlocksStart(name)),
        None => Ok(()),
    }
}

/// The host's folders, those that hold others first: the part of the plan that can be asked for before the rest is made.
pub fn folders(rules: &StaticRules, inputs: &PlanInputs) -> Result<FolderRequest, PlanError> {
    let writable = rules.allowed.iter().map(|p| (p, Access::ReadWrite));
    let readable = rules.read_only.iter().chain(&inputs.extra_read_only).map(|p| (p, Access::ReadOnly));
    if let Some(workspace) = &inputs.workspace {
        refuse_broad(workspace, inputs)?;
    }
    let mut folders: Vec<Folder> = Vec::new();
    for (inside, access) in writable.chain(readable) {
        let Some(host) = on_host(inside, inputs) else { continue };
        refuse_broad(inside, inputs)?;
        // Named twice: the first, which is the wider right, stands.
        if !folders.iter().any(|f| f.inside == *inside) {
            folders.push(Folder { host, inside: inside.clone(), access });
        }
    }
    folders.sort_by_key(|f| f.inside.components().count());
    if folders.len() > chiton_sys::descriptors::MAX_DESCRIPTORS {
        return Err(PlanError::TooManyFolders(folders.len()));
    }
    Ok(FolderRequest { folders, forbidden: inputs.own_folders.clone() })
}

/// Where a path inside is on the host; none for what is private to the sandbox.
fn on_host(inside: &Path, inputs: &PlanInputs) -> Option<PathBuf> {
    if inside.starts_with("/tmp") || inside.starts_with(HOME) {
        return None;
    }
    match inside.strip_prefix(WORKSPACE) {
        Ok(below) if below.as_os_str().is_empty() => inputs.workspace.clone(),
        Ok(below) => inputs.workspace.as_ref().map(|workspace| workspace.join(below)),
        Err(_) => Some(inside.to_owned()),
    }
}

/// What must never be shared whole, and what never at all.
fn refuse_broad(path: &Path, inputs: &PlanInputs) -> Result<(), PlanError> {
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(PlanError::NotAbsolute(path.to_owned()));
    }
    let whole = ["/", "/run", "/sys", "/dev", "/home"].iter().any(|broad| path == Path::new(broad));
    let home = inputs.caller_home.starts_with(path);
    if whole || home || path.starts_with("/proc") {
        return Err(PlanError::TooBroad(path.to_owned()));
    }
    Ok(())
}

fn view(
    rules: &StaticRules,
    inputs: &PlanInputs,
    (programs, folders): (&[PathBuf], &[Folder]),
    temporary: Private,
) -> Result<Vec<Step>, PlanError> {
    let mut steps = system::steps(programs)?;
    steps.extend(devices(inputs));
    steps.extend(etc::steps(inputs)?);
    steps.extend(private(rules.disk, temporary));
    for (number, folder) in folders.iter().enumerate() {
        steps.push(Step::Mount { path: folder.inside.clone(), source: Source::Shared(number) });
    }
    steps.extend(protect::steps(rules, inputs, folders));
    Ok(steps)
}

/// Devices that were asked for. `/dev` is a rule of its own in Landlock's plan, for these too.
fn devices(inputs: &PlanInputs) -> impl Iterator<Item = Step> {
    let mount = |path: &PathBuf, source: fn(PathBuf) -> Source| Step::Mount {
        path: path.clone(),
        source: source(path.clone()),
    };
    let nodes = inputs.devices.iter().map(move |path| mount(path, Source::Device));
    nodes.chain(inputs.device_files.iter().map(move |path| mount(path, Source::Host)))
}

/// The private folders: each with a size of its own, or all in one filesystem of the size that the policy gives.
fn private(disk: Option<u64>, temporary: Private) -> Vec<Step> {
    let memory = |path: &str, bytes, inodes, mode, read_only| Step::Memory {
        path: PathBuf::from(path),
        bytes,
        inodes,
        mode,
        read_only,
    };
    let folders = [
        ("/tmp", MEMORY, "1777", temporary == Private::ReadOnly),
        ("/dev/shm", SHARED_MEMORY, "1777", false),
        (HOME, MEMORY, "700", false),
    ];
    let Some(disk) = disk else {
        let each = folders.map(|(path, bytes, mode, read_only)| memory(path, bytes, INODES, mode, read_only));
        return each.into();
    };
    let parts = folders.map(|(path, _, mode, read_only)| Step::MemoryPart {
        path: PathBuf::from(path),
        of: PathBuf::from(PRIVATE),
        mode,
        read_only,
    });
    let whole = memory(PRIVATE, disk, 2 * INODES, "755", false);
    std::iter::once(whole).chain(parts).collect()
}

fn landlock(
    facts: &HostFacts,
    inputs: &PlanInputs,
    (programs, folders): (&[PathBuf], &[Folder]),
    temporary: Private,
) -> LandlockPlan {
    let mut rules = vec![(PathBuf::from("/"), Right::List)];
    rules.extend(programs.iter().cloned().map(|path| (path, Right::Read)));
    rules.push((PathBuf::from("/etc"), Right::Read));
    rules.extend(inputs.device_files.iter().cloned().map(|path| (path, Right::Read)));
    rules.extend(["/dev", "/proc"].map(|path| (PathBuf::from(path), Right::Device)));
    let temporary = if temporary == Private::Writable { Right::Write } else { Right::Read };
    rules.push((PathBuf::from("/tmp"), temporary));
    rules.extend(["/dev/shm", HOME].map(|path| (PathBuf::from(path), Right::Write)));
    rules.extend(folders.iter().map(|folder| {
        let right = match folder.access {
            Access::ReadOnly => Right::Read,
            Access::ReadWrite => Right::Write,
        };
        (folder.inside.clone(), right)
    }));
    LandlockPlan { abi: facts.landlock_abi, rules }
}
