//! What the black-box tests share: an installation of chiton beside upstream servers on loopback.

use std::path::PathBuf;

pub use chiton_testkit::harness::{As, Chiton, Outcome, TEST_USER, finish};
use chiton_testkit::{ca::TestCa, routes::Router, server::Upstream};

/// An installation and one upstream server that stands for every host of the test.
pub struct World {
    /// The installation.
    pub chiton: Chiton,
    /// The server.
    pub upstream: Upstream,
    /// Who signed the server's certificate.
    pub ca: TestCa,
}

impl World {
    /// HTTPS for these hosts on port 443.
    #[must_use]
    pub fn new(user: As, hosts: &[&str], router: Router) -> Self {
        let ca = TestCa::new();
        let upstream = Upstream::tls(&ca, hosts, router);
        let mut chiton = Chiton::new(user);
        chiton.trust(&ca);
        for host in hosts {
            chiton.resolve(&format!("{host}:443"), upstream.address());
        }
        Self { chiton, upstream, ca }
    }

    /// An ordinary user, and a server that echoes.
    #[must_use]
    pub fn echo(hosts: &[&str]) -> Self {
        Self::new(As::User, hosts, Router::echo())
    }

    /// Runs a shell script under a policy.
    #[must_use]
    pub fn sh(&self, policy: &str, script: &str) -> Outcome {
        self.chiton.sandboxed(&self.chiton.policy(policy), &["sh", "-c", script])
    }
}

/// A policy that lists the workspace and `/tmp`, with this as its `dynamic.network.http`, one rule a line.
#[must_use]
pub fn http_policy(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!(
        "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\ndynamic:\n  network:\n    http:\n{rules}"
    )
}

/// The reference policy, with a key of the local store in the place of `vault://`.
pub const REFERENCE: &str = include_str!("../../examples/policies/reference.yaml");

/// Packages that `cargo xtask setup` fetched: `python` or `node`.
///
/// # Panics
/// When they are not there.
#[must_use]
pub fn packages(kind: &str) -> PathBuf {
    let root = std::env::var_os("CHITON_TEST_PACKAGES").unwrap_or_else(|| "/var/tmp/chiton-tests".into());
    let folder = PathBuf::from(root).join(kind);
    assert!(
        folder.join(".installed").exists(),
        "component missing: test packages for {kind}; `cargo xtask setup`"
    );
    folder
}
