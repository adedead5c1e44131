//! Trying each layer, and the command that mends it.

use std::fs;

use crate::{
    capture,
    cgroup::{Controller, GroupError, GroupHost, GroupLimits, Lacking, Version},
    folders::{Access, Folder, FolderRequest},
    namespaces::{self, Entered, Identity, NamespaceError},
    plan::{PlanInputs, StaticRules, plan},
    probe::{
        Check, HostFacts, KernelVersion, Layer,
        child::{Tried, attempt},
    },
    view,
};

/// The oldest kernel with all that is used: descriptors handed over by a seccomp listener in one step.
const OLDEST: KernelVersion = KernelVersion { major: 5, minor: 14 };
/// An id that root tries with; nothing is left of it.
const SPARE_ID: u32 = 2_000_000_000;

type Failure = Box<dyn std::error::Error>;

/// All layers, in the order in which a sandbox needs them.
pub(super) fn all(facts: &HostFacts) -> Vec<Check> {
    let mut checks = vec![kernel(facts), namespaces()];
    checks.extend([view(facts), capture(), landlock(facts), seccomp()]);
    if rustix::process::geteuid().is_root() {
        checks.push(id_mapped());
    }
    checks.push(control_groups());
    checks
}

fn kernel(facts: &HostFacts) -> Check {
    let works = cfg!(target_arch = "x86_64") && facts.kernel >= OLDEST;
    let found = format!("Linux {} on {}", facts.kernel, std::env::consts::ARCH);
    let mend = (!works).then(|| format!("run an x86_64 kernel of version {OLDEST} or later"));
    Check { layer: Layer::Kernel, works, required: true, found, mend }
}

fn enter() -> Result<Entered, NamespaceError> {
    let identity = identity();
    namespaces::enter(identity, "probe")
}

fn identity() -> Identity {
    if rustix::process::geteuid().is_root() {
        Identity::Mapped { host_id: SPARE_ID }
    } else {
        Identity::Caller
    }
}

fn namespaces() -> Check {
    let tried =
        attempt(|| enter().map(|_| "user, mount, network, IPC, UTS and cgroup namespaces".to_owned()));
    let mend = (!tried.works).then(userns_mend);
    check(Layer::Namespaces, tried, mend)
}

/// What keeps an ordinary user from namespaces, and how to allow them.
fn userns_mend() -> String {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        // Ubuntu 23.10 and later. A profile for this program alone, instead of the switch for all.
        let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/chiton".into());
        return format!(
            "printf 'abi <abi/4.0>,\\nprofile chiton {} flags=(unconfined) {{\\n  userns,\\n}}\\n' | \
             sudo tee /etc/apparmor.d/chiton && sudo apparmor_parser -r /etc/apparmor.d/chiton",
            program.display()
        );
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned();
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "sudo sysctl -w user.max_user_namespaces=15000".to_owned();
    }
    "run outside of a container, or in one that allows user namespaces (docker run --security-opt seccomp=unconfined)"
        .to_owned()
}

fn view(facts: &HostFacts) -> Check {
    let facts = *facts;
    let tried = attempt(move || {
        let entered = enter()?;
        let inputs = PlanInputs::for_probe(identity(), &entered);
        let plan = plan(&StaticRules::default(), &facts, &inputs)?;
        let folders = entered.folders.open(&plan.folders)?;
        namespaces::new_pid_namespace()?;
        let inner = attempt(|| view::build(&plan, folders).map(|()| "own root, /proc and /dev".to_owned()));
        if inner.works { Ok(inner.found) } else { Err(Failure::from(inner.found)) }
    });
    let mend = (!tried.works).then(|| {
        "run outside of a container, or in one whose /proc is not masked \
         (docker run --security-opt systempaths=unconfined)"
            .to_owned()
    });
    check(Layer::View, tried, mend)
}

fn capture() -> Check {
    let tried = attempt(|| {
        let _entered = enter()?;
        let listeners = capture::build()?;
        let families = if listeners.tcp.len() == 2 { "IPv4 and IPv6" } else { "IPv4; this host has no IPv6" };
        Ok::<_, Failure>(format!("nftables redirect and packet log, {families}"))
    });
    let modules = "sudo modprobe -a nf_tables nft_redir nft_chain_nat nft_ct nft_limit nft_log nfnetlink_log; \
                   in a container, /proc/sys has to be writable (docker run --security-opt systempaths=unconfined)";
    let mend = (!tried.works).then(|| modules.to_owned());
    check(Layer::Capture, tried, mend)
}

fn landlock(facts: &HostFacts) -> Check {
    let works = facts.landlock_abi > 0;
    let found =
        if works { format!("ABI {}", facts.landlock_abi) } else { "not there, or switched off".to_owned() };
    let mend =
        (!works).then(|| "add `landlock` to the list in `lsm=` on the kernel's command line".to_owned());
    Check { layer: Layer::Landlock, works, required: true, found, mend }
}

fn seccomp() -> Check {
    let tried = attempt(|| {
        let wait = chiton_sys::seccomp::Wait::Interruptible;
        chiton_sys::process::set_no_new_privs()?;
        let program = crate::seccomp::SeccompPlan::new([], false).assemble();
        let listener = chiton_sys::seccomp::load_with_listener(&program, wait)?;
        drop(listener);
        Ok::<_, chiton_sys::Errno>(format!("filter of {} instructions with a listener", program.len()))
    });
    let mend = (!tried.works)
        .then(|| "run a kernel with CONFIG_SECCOMP_FILTER, not under a tracer of its own".to_owned());
    check(Layer::Seccomp, tried, mend)
}

fn id_mapped() -> Check {
    let tried = attempt(|| {
        let folder = std::env::current_dir().unwrap_or_else(|_| "/var".into());
        let found = format!("the filesystem of `{}` maps ids", folder.display());
        let request = FolderRequest {
            folders: vec![Folder { host: folder, inside: "/workspace".into(), access: Access::ReadOnly }],
            forbidden: Vec::new(),
        };
        enter()?.folders.open(&request)?;
        Ok::<_, Failure>(found)
    });
    let mend = (!tried.works).then(|| {
        "keep workspaces on ext4, xfs or btrfs (tmpfs: from Linux 6.3 on), or run as an ordinary user"
            .to_owned()
    });
    check(Layer::IdMappedMounts, tried, mend)
}

/// Whether `static.resources` can be enforced, each controller by making a group.
fn control_groups() -> Check {
    let host = GroupHost::find();
    let tried = Controller::ALL
        .map(|controller| (controller, host.version(controller), try_group(&host, controller)));
    let shown = |version| match version {
        Some(Version::V1) => "version 1",
        Some(Version::V2) => "version 2",
        None => "none",
    };
    let found: Vec<_> = tried
        .iter()
        .map(|(controller, version, made)| match made {
            Some(Err(error)) => format!("{controller}: {error}"),
            Some(Ok(())) | None => format!("{controller}: {}", shown(*version)),
        })
        .collect();
    let works = tried.iter().all(|(.., made)| matches!(made, Some(Ok(()))));
    let lacking = host.lacks(&Controller::ALL);
    let mend = (!works).then(|| lacking.as_ref().map_or(REFUSED, Lacking::mend).to_owned());
    let why = lacking.map(|lacking| format!("; {}", lacking.why())).unwrap_or_default();
    let found = format!("for `static.resources`: {}{why}", found.join(", "));
    Check { layer: Layer::ControlGroups, works, required: false, found, mend }
}

/// Of groups that cannot be made although nothing seems to be in the way.
const REFUSED: &str = "ask whoever set up this machine's control groups for one with room for more below it";

/// None where the host has no place for it.
fn try_group(host: &GroupHost, controller: Controller) -> Option<Result<(), GroupError>> {
    host.version(controller)?;
    let limits = match controller {
        Controller::Cpu => GroupLimits { cpu_millis: Some(1000), ..GroupLimits::default() },
        Controller::Memory => GroupLimits { memory: Some(1 << 30), ..GroupLimits::default() },
        Controller::Pids => GroupLimits { pids: Some(1000), ..GroupLimits::default() },
    };
    let group = host.group(&format!("chiton-doctor-{}", std::process::id()), limits);
    let made = group.make();
    let removed = group.remove();
    Some(made.and(removed))
}

fn check(layer: Layer, tried: Tried, mend: Option<String>) -> Check {
    Check { layer, works: tried.works, required: true, found: tried.found, mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_start_a_sandbox() {
        let probe = crate::probe::probe();
        for check in &probe.checks {
            assert!(check.works || !check.required, "{check:?}");
            assert_eq!(check.works, check.mend.is_none());
        }
        assert!(probe.can_start());
    }

    #[test]
    fn what_fails_in_the_child_is_told() {
        let tried = attempt(|| Err::<String, _>("broken"));
        assert!(!tried.works);
        assert_eq!(tried.found, "broken");
        let tried = attempt::<String>(|| chiton_sys::process::exit_now(3));
        assert!(!tried.works && tried.found.contains("without an answer"));
    }
}
