//! The variables that a program inside finds: the sandbox's own, the policy's, those of its start. Nothing
//! else of the caller's. Of one name the later wins, but for what [`EnvName::is_sandboxs`] keeps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chiton_api::control::FilesystemPolicy;
use chiton_policy::{EnvEntry, EnvName, Policy, TRUST_VARIABLES, model::CredentialPlace};

/// The agent's home inside.
pub(crate) const HOME: &str = "/home/agent";
/// Where programs are searched.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Inside, the system's roots and the sandbox's own authority.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the agent finds where it expects a provider's key; the real one never comes in.
const PLACEHOLDER: &str = "chiton-placeholder";
/// The same for AWS, whose keys have a form. What is signed by it is signed anew outside.
const AWS_PLACEHOLDERS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIACHITONPLACEHOLDR"), ("AWS_SECRET_ACCESS_KEY", PLACEHOLDER)];

/// A program's variables.
pub(crate) type Environment = BTreeMap<String, String>;

/// What a policy gives: placeholders for the routed providers' keys and the rules' credentials, and its own values.
/// What it passes through comes with its value from the caller.
pub(crate) fn of_policy(policy: &Policy) -> Environment {
    let providers = || policy.dynamic.llm.iter().map(|route| route.provider.facts());
    let keys = providers().filter_map(|facts| Some((facts.key_variable?, PLACEHOLDER)));
    let credentials = || policy.dynamic.http.iter().filter_map(|rule| rule.credential.as_ref());
    let signs = providers().any(|facts| facts.key_signs.is_some())
        || credentials().any(|credential| credential.place == CredentialPlace::Aws);
    let keys = keys.chain(AWS_PLACEHOLDERS.into_iter().filter(|_| signs));
    let variables = credentials().filter_map(|credential| credential.env.as_ref());
    let keys = keys.chain(variables.map(|variable| (variable.as_str(), PLACEHOLDER)));
    let given = policy.fixed.process.env.iter().filter_map(|entry| match entry {
        EnvEntry::Give { name, value } => Some((name.as_str(), value.as_str())),
        EnvEntry::Pass(_) => None,
    });
    keys.chain(given).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The sandbox's variables, the same for every program: its own, the image's, the policy's, those of the command line.
pub(crate) fn of_sandbox(
    name: &str,
    images: &Environment,
    policys: Environment,
    sent: &Environment,
) -> Environment {
    let usual = [("HOME", HOME), ("PATH", SEARCH_PATH), ("USER", "agent"), ("LOGNAME", "agent")];
    let usual = usual.into_iter().chain([("LANG", "C.UTF-8")]);
    let mut all: Environment = usual.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    all = with(&all, images);
    all.extend(policys);
    with(&all, sent)
        .into_iter()
        .chain(TRUST_VARIABLES.map(|variable| (variable.to_owned(), BUNDLE.to_owned())))
        .chain([(chiton_policy::SANDBOX_VARIABLE.to_owned(), name.to_owned())])
        .collect()
}

/// Variables, and over them those of one start.
pub(crate) fn with(variables: &Environment, given: &Environment) -> Environment {
    let given = given.iter().filter(|(name, _)| !EnvName::is_sandboxs(name));
    variables.iter().chain(given).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where a program starts that did not say: the workspace where there is one, else the image's folder, else the home.
pub(crate) fn working_directory(policy: &FilesystemPolicy) -> PathBuf {
    let workspace = policy.workspace.as_ref().map(|_| Path::new("/workspace"));
    workspace.or(policy.directory.as_deref()).unwrap_or(Path::new(HOME)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn of(text: &str, sent: &[(&str, &str)]) -> Environment {
        of_sandbox("demo", &set(&[]), of_policy(&Policy::parse(text).unwrap()), &set(sent))
    }

    #[test]
    fn the_command_line_wins_over_the_policy_and_the_policy_over_the_sandbox() {
        let policy = "static: {process: {env: {LANG: de_DE.UTF-8, CI: '1', NOTHING: '', PASSED: }}}";
        let env = of(policy, &[("CI", "2"), ("PASSED", "on")]);
        assert_eq!(env["LANG"], "de_DE.UTF-8");
        assert_eq!((env["CI"].as_str(), env["PASSED"].as_str(), env["NOTHING"].as_str()), ("2", "on", ""));
        assert_eq!(of(policy, &[])["CI"], "1");
        assert!(!of(policy, &[]).contains_key("PASSED"));
    }

    #[test]
    fn a_routed_provider_has_a_placeholder() {
        let policy = "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://a'}}";
        assert_eq!(of(policy, &[])["OPENAI_API_KEY"], "chiton-placeholder");
    }

    #[test]
    fn what_is_signed_for_aws_is_signed_with_placeholders_first() {
        let of = |credential: &str| {
            of(&format!("dynamic: {{network: {{http: [{{host: a.test, credential: {credential}}}]}}}}"), &[])
        };
        let env = of("{aws: 'local://aws'}");
        assert_eq!(env["AWS_ACCESS_KEY_ID"].len(), 20);
        assert_eq!(env["AWS_SECRET_ACCESS_KEY"], "chiton-placeholder");
        assert!(!of("'local://aws'").contains_key("AWS_ACCESS_KEY_ID"));
        let routed = "dynamic: {llm_routing: {provider: bedrock, base_url: 'https://a.test'}}";
        assert_eq!(
            of_sandbox("demo", &set(&[]), of_policy(&Policy::parse(routed).unwrap()), &set(&[]))["AWS_ACCESS_KEY_ID"]
                .len(),
            20
        );
    }

    #[test]
    fn a_credential_has_a_placeholder_where_it_asks_for_one() {
        let policy =
            "dynamic: {network: {http: [{host: a.test, credential: {secret: 'local://a', env: A_TOKEN}}]}}";
        assert_eq!(of(policy, &[])["A_TOKEN"], "chiton-placeholder");
    }

    #[test]
    fn an_images_variables_are_below_the_policys() {
        let policy = Policy::parse("static: {process: {env: {CI: policy}}}").unwrap();
        let image = set(&[("CI", "image"), ("PATH", "/opt"), ("CHITON_SANDBOX", "other"), ("SENT", "image")]);
        let env = of_sandbox("demo", &image, of_policy(&policy), &set(&[("SENT", "caller")]));
        assert_eq!((env["CI"].as_str(), env["PATH"].as_str()), ("policy", "/opt"));
        assert_eq!((env["CHITON_SANDBOX"].as_str(), env["SENT"].as_str()), ("demo", "caller"));
    }

    #[test]
    fn nobody_sets_the_sandboxs_name_and_trust() {
        let env = of("{}", &[("CHITON_SANDBOX", "other"), ("SSL_CERT_FILE", "/tmp/mine")]);
        assert_eq!(env["CHITON_SANDBOX"], "demo");
        assert_eq!(env["SSL_CERT_FILE"], env["npm_config_cafile"]);
        let exec = with(&env, &set(&[("CHITON_SANDBOX", "other"), ("A", "1")]));
        assert_eq!((exec["CHITON_SANDBOX"].as_str(), exec["A"].as_str()), ("demo", "1"));
    }
}
