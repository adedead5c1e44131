//! The static half of a policy, brought into the forms that the mechanisms take. One text in, as every
//! other end parses it.

use std::{
    io,
    path::{Path, PathBuf},
};

use chiton_api::control::{Failure, FilesystemPolicy};
use chiton_confine::{StaticRules, plan::DeniedPath};
use chiton_policy::{
    DeniedPattern, FileRules, FileScope, PathRefused, Policy, Protection,
    model::{FilesystemRules, Resources},
};

use crate::{
    environment::{self, Environment},
    failure::status,
};

const WORKSPACE: &str = "/workspace";

/// What the supervisor needs of a policy.
#[derive(Debug)]
pub(crate) struct Rules {
    /// For the plan.
    pub(crate) fixed: StaticRules,
    filesystem: FilesystemRules,
    scope: FileScope,
    /// The variables that it gives.
    pub(crate) variables: Environment,
    /// How much of the machine it gives.
    pub(crate) resources: Resources,
    /// The policy file, as it is called inside.
    pub(crate) policy_file: Option<PathBuf>,
}

impl Rules {
    /// Reads them out of what the driver sent.
    pub(crate) fn read(sent: &FilesystemPolicy) -> Result<Self, Failure> {
        let policy = Policy::parse(&sent.policy)
            .map_err(|_| status(125, "the policy is not valid: `chiton policy check` says where".into()))?;
        let policy_file = sent.policy_file.as_ref().map(|file| inside(file, sent.workspace.as_deref()));
        let scope = FileScope {
            home: sent.home.clone(),
            policy_file: policy_file.clone(),
            own_folders: sent.own_folders.clone(),
            extra_read_only: sent.extra_read_only.clone(),
            git_at_start: false,
        };
        let fixed = fixed(&policy, &scope).map_err(refused)?;
        let variables = environment::of_policy(&policy);
        let (filesystem, resources) = (policy.fixed.filesystem, policy.fixed.resources);
        Ok(Self { fixed, filesystem, scope, variables, resources, policy_file })
    }

    /// For the judgement of lookups. Called in the view, before the agent is: as root we have no right to see the
    /// workspace from outside.
    pub(crate) fn files(self) -> Result<FileRules, Failure> {
        let git = Path::new(WORKSPACE).join(".git").symlink_metadata();
        let git_at_start = !git.is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let scope = FileScope { git_at_start, ..self.scope };
        FileRules::new(&self.filesystem, &scope).map_err(refused)
    }
}

fn refused(path: PathRefused) -> Failure {
    status(125, path.to_string())
}

fn fixed(policy: &Policy, scope: &FileScope) -> Result<StaticRules, PathRefused> {
    let files = &policy.fixed.filesystem;
    let paths = files.resolve(scope)?;
    let home = scope.home.to_string_lossy();
    let globs = files.denied.iter().filter_map(|pattern| match pattern {
        DeniedPattern::Glob(glob) => Some(DeniedPath::Glob(glob.with_home(&home).as_str().to_owned())),
        DeniedPattern::Literal(_) => None,
    });
    Ok(StaticRules {
        allowed: paths.writable,
        // Those of `-r` enter the plan by themselves.
        read_only: paths.read_only.into_iter().filter(|p| !scope.extra_read_only.contains(p)).collect(),
        denied: paths.denied.into_iter().map(DeniedPath::Literal).chain(globs).collect(),
        unprotected: files.unprotected.iter().copied().map(Protection::as_str).map(str::to_owned).collect(),
        disk: policy.fixed.resources.disk.map(|size| size.0),
        pids: policy.fixed.resources.pids,
        blocked_calls: policy.fixed.process.blocked_syscalls.iter().map(|call| call.number()).collect(),
    })
}

/// What a host path in the workspace is called inside.
fn inside(path: &Path, workspace: Option<&Path>) -> PathBuf {
    match workspace.and_then(|workspace| path.strip_prefix(workspace).ok()) {
        Some(below) => Path::new(WORKSPACE).join(below),
        None => path.to_owned(),
    }
}
