//! A policy document as the gateway holds it: the text that travels, its digest, and what it means.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use chiton_driver::{Gpu, Resources};
use chiton_policy::{Policy, model};
use sha2::{Digest, Sha256};

use crate::{config::Config, error::GatewayError};

/// Where the workspace is inside.
const WORKSPACE: &str = "/workspace";

/// A document that loads, and asks for nothing that is not there yet.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) text: Arc<str>,
    pub(crate) digest: String,
    pub(crate) policy: Policy,
}

impl Document {
    /// Reads a document. What is known but not supported yet is refused, all of it named.
    pub(crate) fn parse(text: &str) -> Result<Self, GatewayError> {
        let policy = Policy::parse(text)
            .map_err(|diagnostics| GatewayError::PolicyInvalid(diagnostics.to_string()))?;
        let missing: Vec<String> =
            chiton_policy::unsupported(&policy).iter().map(|what| format!("`{}`", what.field())).collect();
        if !missing.is_empty() {
            return Err(GatewayError::NotSupported(missing.join(", ")));
        }
        Ok(Self { text: text.into(), digest: digest(text), policy })
    }

    /// How much of the machine it gives, in the drivers' words.
    pub(crate) fn resources(&self) -> Resources {
        let asked = &self.policy.fixed.resources;
        Resources {
            cpu_millis: asked.cpus.map(|cpus| cpus.millis),
            memory: asked.memory.map(|size| size.0),
            pids: asked.pids,
            disk: asked.disk.map(|size| size.0),
            wall_time: asked.wall_time.map(|time| time.0),
        }
    }

    /// Which GPUs it gives, likewise.
    pub(crate) fn gpu(&self) -> Gpu {
        match &self.policy.fixed.gpu {
            model::Gpu::None => Gpu::None,
            model::Gpu::All => Gpu::All,
            model::Gpu::Count(count) => Gpu::Count(*count),
            // An empty list names none.
            model::Gpu::Cdi(names) if names.is_empty() => Gpu::None,
            model::Gpu::Cdi(names) => Gpu::Named(names.clone()),
        }
    }

    /// Refuses a route to a backend that the operator has not opened, where only he can.
    pub(crate) fn check_backends(&self, config: &Config) -> Result<(), GatewayError> {
        match chiton_policy::closed_backend(&self.policy, &config.llm_allow()) {
            Some((route, url)) => Err(GatewayError::BackendClosed { route, url }),
            None => Ok(()),
        }
    }

    /// Whether it gives the workspace, or something in it.
    pub(crate) fn gives_workspace(&self) -> bool {
        self.given().any(|path| path.starts_with(WORKSPACE))
    }

    /// Paths of the host that it gives, with `~` standing for this folder. They must exist.
    pub(crate) fn host_paths(&self, home: &std::path::Path) -> Vec<PathBuf> {
        let filesystem = &self.policy.fixed.filesystem;
        let given = filesystem.allowed.iter().chain(&filesystem.read_only);
        let private = |path: &PathBuf| path.starts_with(WORKSPACE) || path.starts_with("/tmp");
        given.map(|path| path.resolve(home)).filter(|path| !private(path)).collect()
    }

    fn given(&self) -> impl Iterator<Item = PathBuf> {
        let filesystem = &self.policy.fixed.filesystem;
        filesystem.allowed.iter().chain(&filesystem.read_only).map(|path| PathBuf::from(path.as_str()))
    }

    /// Which fields of the static half another document changes. An absent half changes nothing.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        if !other.policy.has_static {
            return Vec::new();
        }
        let changes = chiton_policy::static_diff(&self.policy, &other.policy);
        changes.into_iter().map(|change| change.field).collect()
    }

    /// One document that says what is in force: this one's static half, and the dynamic half of a revision.
    pub(crate) fn with_dynamic_of(&self, revision: &Self) -> String {
        if revision.policy.has_static {
            return revision.text.to_string();
        }
        let (has_static, fixed) = (self.policy.has_static, self.policy.fixed.clone());
        Policy { has_static, fixed, ..revision.policy.clone() }.to_yaml()
    }
}

/// `sha256:` and the digest of a text.
fn digest(text: &str) -> String {
    let mut shown = String::from("sha256:");
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n  process:\n    \
                        blocked_syscalls: [ptrace]\n";

    #[test]
    fn an_absent_or_equal_static_half_changes_nothing() {
        let base = Document::parse(BASE).unwrap();
        let absent = Document::parse("dynamic:\n  network:\n    http: []\n").unwrap();
        assert!(base.differing(&absent).is_empty());
        let equal = Document::parse(&format!("# a comment\n{BASE}\n")).unwrap();
        assert!(base.differing(&equal).is_empty());
        assert_ne!(base.digest, equal.digest);
    }

    #[test]
    fn what_differs_is_named() {
        let base = Document::parse(BASE).unwrap();
        let other = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n  process:\n    blocked_syscalls: [mount]\n";
        let differing = base.differing(&Document::parse(other).unwrap());
        assert_eq!(differing, ["static.filesystem.allowed_paths", "static.process.blocked_syscalls"]);
    }

    #[test]
    fn a_backend_on_this_machine_is_the_operators_to_open() {
        let config = |allow: &str| {
            Config::parse(&format!("[llm]\nallow = [{allow}]\n"), std::path::Path::new("/etc/config.toml"))
        };
        let (closed, open) = (config("").unwrap(), config("\"http://127.0.0.1:11434\"").unwrap());
        for (route, needs) in [
            ("{provider: ollama}", true),
            ("{provider: openai, base_url: 'http://127.0.0.1:11434/v1'}", true),
            (
                "[{provider: openai}, {provider: openai-compatible, base_url: 'https://a.test:8443/v1'}]",
                false,
            ),
        ] {
            let document = Document::parse(&format!("dynamic: {{llm_routing: {route}}}\n")).unwrap();
            assert!(document.check_backends(&open).is_ok(), "{route}");
            let refused = document.check_backends(&closed);
            assert_eq!(refused.is_err(), needs, "{route}");
            if let Err(error) = refused {
                let text = error.to_string();
                assert!(
                    text.contains("[llm] allow = [\"http://127.0.0.1:11434") && !text.contains('\n'),
                    "{text}"
                );
            }
        }
        let bad = config("\"127.0.0.1:11434\"").unwrap_err().to_string();
        assert!(bad.contains("a base URL is as"), "{bad}");
    }

    #[test]
    fn what_does_not_load_is_one_line_with_its_place() {
        let error = Document::parse("dynamic:\n  netwrok: {}\n").unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, GatewayError::PolicyInvalid(_)), "{text}");
        assert!(text.contains("line 2") && !text.contains('\n'), "{text}");
        let staged = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n    workspace: staged\n";
        assert!(matches!(Document::parse(staged), Err(GatewayError::NotSupported(_))));
        // What a document extends is the client's to resolve: here it would be ignored.
        let extends = Document::parse("extends: [github-read]\n");
        assert!(matches!(extends, Err(GatewayError::NotSupported(_))));
    }
}
