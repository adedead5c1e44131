//! What a sandbox ran into, as part of how it ended.

use std::fs;

use chiton_driver::{DriverError, Exit, LimitsHit, Resources, Result, SandboxSpec};

use crate::{folder, supervisor::written_exit};

/// How it ended, with what it ran into; also where the supervisor was killed for want of memory, and wrote nothing.
pub(crate) fn ended(spec: &SandboxSpec, told: Option<Exit>, hit: LimitsHit) -> Option<Exit> {
    let killed = (hit.out_of_memory > 0).then(|| Exit::of(137));
    let exit = told.or_else(|| written_exit(spec)).or(killed)?;
    Some(Exit { limits: exit.limits.and(hit), ..exit })
}

/// Puts it into the exit file, for whoever asks later. Once the supervisor has ended, which writes there too.
pub(crate) fn keep(spec: &SandboxSpec, hit: LimitsHit) -> Result<()> {
    let exit = ended(spec, None, hit).filter(|exit| !exit.limits.is_none());
    let Some(exit) = exit.filter(|exit| written_exit(spec) != Some(*exit)) else { return Ok(()) };
    let line = serde_json::to_vec(&exit).unwrap_or_default();
    let written = folder::write_anew(&spec.exit).and_then(|_| fs::write(&spec.exit, line));
    written.map_err(|source| DriverError::Io { doing: "cannot write how the sandbox ended", source })
}

/// The line of the report.
pub(crate) fn shown(resources: &Resources, keeper: &str) -> String {
    if resources.is_none() {
        return "nothing is limited: the policy has no `static.resources`".to_owned();
    }
    format!("{resources}, by {keeper}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_was_killed_for_want_of_memory_ends_as_its_program_would() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let spec: SandboxSpec = serde_json::from_value(serde_json::json!({
            "id": "01jdzzzzzzzzzzzzzzzzzzzzzz", "name": "x", "workspace": "/", "log": at("log"),
            "supervisor_events": at("s"), "proxy_events": at("p"), "exit": at("exit.json"), "image": null,
        }))
        .unwrap();
        let hit = LimitsHit { out_of_memory: 1, ..LimitsHit::default() };
        let killed = Exit { limits: hit, ..Exit::of(137) };
        assert_eq!(ended(&spec, None, LimitsHit::default()), None);
        assert_eq!(ended(&spec, None, hit), Some(killed));
        assert_eq!(ended(&spec, Some(Exit::of(3)), hit), Some(Exit { code: 3, ..killed }));
        keep(&spec, LimitsHit::default()).unwrap();
        assert!(!spec.exit.exists(), "nothing to keep");
        keep(&spec, hit).unwrap();
        assert_eq!(written_exit(&spec), Some(killed));
        fs::write(&spec.exit, r#"{"code":5}"#).unwrap();
        keep(&spec, hit).unwrap();
        assert_eq!(written_exit(&spec), Some(Exit { code: 5, ..killed }));
    }
}
