//! `static.resources` on this host: the sandbox's control group, from the word that one can be made to what it counted.
//!
//! *Always*: the group is in the sandbox's record before it is made, and is removed after its last process. The proxy is
//! never in it.

use std::{io::ErrorKind, time::Duration};

use chiton_confine::cgroup::{Controller, Group, GroupError, GroupHost, GroupLimits, Version};
use chiton_driver::{DriverError, LimitsHit, Resources, Result, SandboxSpec};
use chiton_driver_host::ProcessId;

/// Less than this the supervisor itself does not start in.
const LEAST_MEMORY: u64 = 16 << 20;
/// How long the kernel may take to let go of processes that have ended.
const EMPTYING: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(5);

/// Whether everything that a policy can ask for is kept here.
pub(crate) fn keeps_all() -> bool {
    GroupHost::find().lacks(&Controller::ALL).is_none()
}

/// Refuses what cannot be kept here, by the policy's own names.
pub(crate) fn check(resources: &Resources) -> Result<()> {
    if limits(resources).controllers().is_empty() {
        return Ok(());
    }
    checked(&GroupHost::find(), resources)
}

fn checked(host: &GroupHost, resources: &Resources) -> Result<()> {
    if let Some(lacking) = host.lacks(&limits(resources).controllers()) {
        let fields: Vec<_> =
            lacking.controllers.iter().map(|c| format!("`static.resources.{}`", field(*c))).collect();
        let (fields, why, mend) = (fields.join(", "), lacking.why(), lacking.mend());
        return Err(DriverError::Unsupported(format!(
            "{fields} cannot be enforced on this machine: {why}: {mend}; or leave it out of the policy"
        )));
    }
    match resources.memory {
        Some(bytes) if bytes < LEAST_MEMORY => Err(DriverError::Unsupported(
            "`static.resources.memory` is less than the 16MiB that a sandbox takes by itself: give it more"
                .into(),
        )),
        _ => Ok(()),
    }
}

const fn field(controller: Controller) -> &'static str {
    match controller {
        Controller::Cpu => "cpus",
        Controller::Memory => "memory",
        Controller::Pids => "pids",
    }
}

const fn limits(resources: &Resources) -> GroupLimits {
    let Resources { cpu_millis, memory, pids, .. } = *resources;
    GroupLimits { cpu_millis, memory, pids }
}

/// The group that a sandbox needs, not made yet; none where it needs none.
pub(crate) fn plan(spec: &SandboxSpec) -> Result<Option<Group>> {
    let limits = limits(&spec.resources);
    if limits.controllers().is_empty() {
        return Ok(None);
    }
    let host = GroupHost::find();
    checked(&host, &spec.resources)?;
    Ok(Some(host.group(&format!("chiton-{}", spec.id), limits)))
}

/// Makes the group that is written down.
pub(crate) fn make(group: Option<&Group>) -> Result<()> {
    group.map_or(Ok(()), |group| group.make().map_err(|e| failed(&e)))
}

/// Puts the supervisor in.
pub(crate) fn join(group: Option<&Group>, outer: ProcessId) -> Result<()> {
    group.map_or(Ok(()), |group| group.join(outer.number()).map_err(|e| failed(&e)))
}

/// Puts the first process inside where processes are counted. Before it starts a program.
pub(crate) fn join_inside(group: Option<&Group>, init: Option<ProcessId>) -> Result<()> {
    match (group.filter(|group| group.limits().pids.is_some()), init) {
        (Some(group), Some(init)) => group.join_inside(init.number()).map_err(|e| failed(&e)),
        (None, _) => Ok(()),
        (Some(_), None) => Err(DriverError::Unsupported(
            "the first process inside is not known, and nothing starts without its limits: try again".into(),
        )),
    }
}

/// What it ran into so far.
pub(crate) fn hits(group: Option<&Group>) -> LimitsHit {
    let hits = group.map(Group::hits).unwrap_or_default();
    LimitsHit { out_of_memory: hits.out_of_memory, pids: hits.pids, wall_time: false }
}

/// Removes the group, once nothing runs in it any more.
pub(crate) async fn remove(group: Option<&Group>) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    let removed = tokio::time::timeout(EMPTYING, async {
        loop {
            match group.remove() {
                Err(e) if e.source.kind() == ErrorKind::ResourceBusy => tokio::time::sleep(PERIOD).await,
                done => return done,
            }
        }
    });
    match removed.await {
        Ok(done) => done.map_err(|e| failed(&e)),
        Err(_) => group.remove().map_err(|e| failed(&e)),
    }
}

/// What keeps the limits, for the report.
pub(crate) fn keeper(group: Option<&Group>) -> String {
    let Some(group) = group else { return "the supervisor".to_owned() };
    let versions: Vec<_> = group.versions().into_iter().map(shown).collect();
    format!("control groups of version {}", versions.join(" and "))
}

const fn shown(version: Version) -> &'static str {
    match version {
        Version::V1 => "1",
        Version::V2 => "2",
    }
}

fn failed(error: &GroupError) -> DriverError {
    DriverError::Io {
        doing: "cannot hold the sandbox to its `static.resources`",
        source: std::io::Error::new(error.source.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_refused_by_the_policys_names() {
        let nothing = GroupHost::default();
        let asked = Resources { cpu_millis: Some(500), pids: Some(5), ..Resources::default() };
        let refused = checked(&nothing, &asked).unwrap_err().to_string();
        assert!(refused.contains("`static.resources.cpus`, `static.resources.pids`"), "{refused}");
        assert!(refused.contains("mount -t cgroup2") && !refused.contains('\n'), "{refused}");
        let by_the_supervisor =
            Resources { disk: Some(1), wall_time: Some(Duration::from_secs(1)), ..Resources::default() };
        checked(&nothing, &by_the_supervisor).unwrap();
    }

    #[test]
    fn less_memory_than_a_sandbox_takes_is_refused() {
        let tiny = Resources { memory: Some(LEAST_MEMORY - 1), ..Resources::default() };
        let host = GroupHost::find();
        if host.can(Controller::Memory) {
            assert!(checked(&host, &tiny).unwrap_err().to_string().contains("16MiB"));
        } else {
            assert!(checked(&host, &tiny).unwrap_err().to_string().contains("memory"));
        }
    }
}
