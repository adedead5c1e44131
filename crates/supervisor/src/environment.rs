//! The variables that a program inside finds: the sandbox's own, the policy's, those of its start. Nothing
//! else of the caller's.

use std::{collections::BTreeMap, path::Path};

use chiton_api::control::FilesystemPolicy;

/// The agent's home inside.
pub(crate) const HOME: &str = "/home/agent";
/// Where programs are searched.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Inside, the system's roots and the sandbox's own authority.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the agent finds where it expects a provider's key; the real one never comes in.
const PLACEHOLDER: &str = "chiton-placeholder";

const TRUST: [&str; 10] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "npm_config_cafile",
    "DENO_CERT",
];

/// A program's variables.
pub(crate) type Environment = BTreeMap<String, String>;

/// The sandbox's variables, the same for every program.
pub(crate) fn of_sandbox(name: &str, policy: &FilesystemPolicy, key_variables: &[&str]) -> Environment {
    let own = [("HOME", HOME), ("PATH", SEARCH_PATH), ("USER", "agent"), ("LOGNAME", "agent")];
    let own = own.into_iter().chain([("LANG", "C.UTF-8"), ("CHITON_SANDBOX", name)]);
    let trust = TRUST.into_iter().map(|variable| (variable, BUNDLE));
    let keys = key_variables.iter().map(|variable| (*variable, PLACEHOLDER));
    let pairs = own.chain(trust).chain(keys).map(|(k, v)| (k.to_owned(), v.to_owned()));
    pairs.chain(policy.env.clone()).collect()
}

/// Where a program starts that did not say: the workspace where there is one, else the home.
pub(crate) fn working_directory(has_workspace: bool) -> &'static Path {
    Path::new(if has_workspace { "/workspace" } else { HOME })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_may_replace_what_the_sandbox_sets() {
        let policy = FilesystemPolicy {
            policy: String::new(),
            workspace: None,
            home: "/home/u".into(),
            extra_read_only: Vec::new(),
            own_folders: Vec::new(),
            policy_file: None,
            authority_pem: String::new(),
            env: [("LANG".to_owned(), "de_DE.UTF-8".to_owned())].into(),
        };
        let env = of_sandbox("demo", &policy, &["OPENAI_API_KEY"]);
        assert_eq!(env["LANG"], "de_DE.UTF-8");
        assert_eq!(env["CHITON_SANDBOX"], "demo");
        assert_eq!(env["OPENAI_API_KEY"], "chiton-placeholder");
        assert_eq!(env["SSL_CERT_FILE"], env["npm_config_cafile"]);
    }
}
