//! `static.filesystem`

use std::ops::Range;

use super::{Node, Notes, Sites, near::nearest};
use crate::{
    diagnostics::shown,
    model::{DeniedPattern, FilesystemRules, PathError, PolicyPath, Protection, WorkspaceMode},
    patterns::{FileGlob, FileGlobError},
};

const FIELDS: [&str; 5] = ["allowed_paths", "read_only_paths", "denied_paths", "unprotected", "workspace"];

pub(super) fn read(node: &Node, notes: &mut Notes, sites: &mut Sites) -> FilesystemRules {
    let fields = notes.fields(node, "filesystem", &FIELDS);
    let mut given = |field: &'static str| {
        fields.get(field).map(|node| read_given(node, field, notes)).unwrap_or_default()
    };
    sites.allowed = given("allowed_paths");
    sites.read_only = given("read_only_paths");
    sites.denied = fields.get("denied_paths").map(|node| read_denied(node, notes)).unwrap_or_default();
    let unprotected = fields.get("unprotected").map(|node| read_unprotected(node, notes)).unwrap_or_default();
    let modes = [("live", WorkspaceMode::Live), ("staged", WorkspaceMode::Staged)];
    let workspace = fields.get("workspace").and_then(|node| notes.choice(node, "workspace", &modes));
    FilesystemRules {
        allowed: values(&sites.allowed),
        read_only: values(&sites.read_only),
        denied: values(&sites.denied),
        unprotected,
        workspace: workspace.unwrap_or_default(),
    }
}

fn values<T: Clone>(sited: &[(T, Range<usize>)]) -> Vec<T> {
    sited.iter().map(|(value, _)| value.clone()).collect()
}

fn read_given(node: &Node, field: &'static str, notes: &mut Notes) -> Vec<(PolicyPath, Range<usize>)> {
    let items = notes.list(node, field, "paths");
    let mut paths = Vec::new();
    for item in items {
        if let Some(path) = notes.parsed(item, field, PolicyPath::parse_given) {
            paths.push((path, item.span.clone()));
        }
    }
    paths
}

fn read_denied(node: &Node, notes: &mut Notes) -> Vec<(DeniedPattern, Range<usize>)> {
    let items = notes.list(node, "denied_paths", "paths or globs");
    let mut patterns = Vec::new();
    for item in items {
        let Some(text) = notes.text(item, "denied_paths") else { continue };
        let pattern = match parse_denied(text) {
            Ok(pattern) => pattern,
            Err(error) => {
                let message = format!("`denied_paths` cannot be `{}`: {error}", shown(text));
                let item = notes.error(item.span.clone(), message);
                let name = !text.is_empty() && !text.starts_with(['/', '~', '*']);
                if name && !text.split('/').any(|name| matches!(name, "." | "..")) {
                    item.help = Some(format!("`**/{}` denies it wherever it is", shown(text)));
                }
                continue;
            }
        };
        if text.contains(['?', '[', '{']) {
            notes.info(
                item.span.clone(),
                "`?`, `[` and `{` stand for themselves here: only `*` and `**` are wild",
            );
        }
        patterns.push((pattern, item.span.clone()));
    }
    patterns
}

/// Why a text is no denied path.
#[derive(Debug, thiserror::Error)]
enum DeniedError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Glob(#[from] FileGlobError),
}

fn parse_denied(text: &str) -> Result<DeniedPattern, DeniedError> {
    if text.contains('*') {
        return Ok(DeniedPattern::Glob(FileGlob::parse(text)?));
    }
    let path = PolicyPath::parse(text)?;
    if matches!(path.as_str(), "/" | "~") {
        return Err(PathError::TooHigh.into());
    }
    Ok(DeniedPattern::Literal(path))
}

fn read_unprotected(node: &Node, notes: &mut Notes) -> Vec<Protection> {
    let items = notes.list(node, "unprotected", "names");
    let mut lifted = Vec::new();
    for item in items {
        let Some(text) = notes.text(item, "unprotected") else { continue };
        match Protection::LIFTABLE.into_iter().find(|protection| protection.as_str() == text) {
            Some(protection) => lifted.push(protection),
            None => {
                let names = Protection::LIFTABLE.map(Protection::as_str);
                let message = format!("`unprotected` knows no protection `{}`", shown(text));
                notes.error(item.span.clone(), message).help = Some(match nearest(text, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are: {}", names.join(", ")),
                });
            }
        }
    }
    lifted
}
