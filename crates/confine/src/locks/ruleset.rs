//! Landlock: exactly the view, again, by another part of the kernel.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus,
    Ruleset as Handled, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use serde::Serialize;

use crate::locks::LockError;

/// What Landlock allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LandlockPlan {
    /// The kernel's ABI; 0 where there is none.
    pub abi: u32,
    /// Paths inside and what may be done beneath them. A path that is not there gives no right.
    pub rules: Vec<(PathBuf, Right)>,
}

/// A right beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// List folders.
    List,
    /// Read, list, execute.
    Read,
    /// Everything, but no device nodes.
    Write,
    /// Read, write and control existing devices.
    Device,
}

/// What is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LandlockReport {
    /// The ABI that is used: the newest that both sides know; 0 where there is none.
    pub abi: u32,
    /// Whether the kernel enforces everything that the newest known ABI has.
    pub complete: bool,
    /// One line.
    pub detail: String,
}

/// A ruleset with its rules, ready for every process.
#[derive(Debug)]
pub(crate) struct Ruleset {
    created: Option<RulesetCreated>,
    report: LandlockReport,
}

impl Ruleset {
    pub(crate) fn prepare(plan: &LandlockPlan) -> Result<Self, LockError> {
        let abi = known(plan.abi);
        let report = report(plan.abi, abi);
        if abi == ABI::Unsupported {
            return Ok(Self { created: None, report });
        }
        // The host's own ABI, all of it, or an error: what is less than planned is never called success.
        let mut handled = Handled::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))?;
        if abi >= ABI::V6 {
            // Not of signals: each program is a domain of its own, and two sessions of one sandbox could not signal each
            // other's. The pid namespace holds them all, and its first process, ours, takes none of theirs.
            handled = handled.scope(Scope::AbstractUnixSocket)?;
        }
        let mut created = handled.create()?;
        for (path, right) in &plan.rules {
            let Ok(fd) = PathFd::new(path) else { continue };
            let folder = std::fs::metadata(path).is_ok_and(|m| m.is_dir());
            created = created.add_rule(PathBeneath::new(fd, rights(*right, abi, folder)))?;
        }
        Ok(Self { created: Some(created), report })
    }

    pub(crate) fn report(&self) -> &LandlockReport {
        &self.report
    }

    pub(crate) fn apply(&self) -> Result<(), LockError> {
        let Some(created) = &self.created else { return Ok(()) };
        let copy = created.try_clone().map_err(|e| LockError::Step {
            doing: "copying the landlock ruleset",
            source: crate::namespaces::errno(&e),
        })?;
        let status: RestrictionStatus = copy.restrict_self()?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Err(LockError::LandlockPartial),
        }
    }
}

fn rights(right: Right, abi: ABI, folder: bool) -> BitFlags<AccessFs> {
    let all = match right {
        Right::List => BitFlags::from(AccessFs::ReadDir),
        Right::Read => AccessFs::from_read(abi),
        Right::Write => AccessFs::from_all(abi) & !(AccessFs::MakeBlock | AccessFs::MakeChar),
        Right::Device => {
            AccessFs::from_read(abi) | (AccessFs::WriteFile | AccessFs::IoctlDev) & AccessFs::from_all(abi)
        }
    };
    if folder { all } else { all & AccessFs::from_file(abi) }
}

fn known(abi: u32) -> ABI {
    i32::try_from(abi).map_or(ABI::Unsupported, ABI::from)
}

fn report(kernel: u32, used: ABI) -> LandlockReport {
    if used == ABI::Unsupported {
        let detail = "this kernel has no Landlock".to_owned();
        return LandlockReport { abi: 0, complete: false, detail };
    }
    let scopes = if used >= ABI::V6 { "files, abstract sockets and signals" } else { "files only" };
    let complete = used >= ABI::V6;
    LandlockReport { abi: kernel, complete, detail: format!("ABI {kernel}: {scopes}") }
}
