//! A revision of the policy, compiled, with the values of its credentials.

use std::collections::HashMap;

use chiton_api::control::{Credential, Revised};
use chiton_llm::redact::{Redactor, Unredactable};
use chiton_policy::{CompiledPolicy, Host, HostPattern, Policy};
use chiton_secret::{SecretRef, SecretValue};

/// Why a revision is not taken. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevisionError {
    /// It is no policy.
    #[error("the policy does not load: {0}")]
    Policy(String),
    /// It asks for what is not enforced yet.
    #[error("the policy asks for what is not supported yet: {0}")]
    Unsupported(String),
    /// A credential could not be kept out of responses.
    #[error(transparent)]
    Credential(#[from] Unredactable),
    /// Revisions only grow.
    #[error("revision {offered} is not newer than {current}, which is enforced")]
    NotNewer {
        /// What was sent.
        offered: u64,
        /// What is in force.
        current: u64,
    },
}

/// Everything that requests are judged and served by at one moment.
pub(crate) struct Revision {
    /// Its number.
    pub(crate) number: u64,
    /// What is allowed.
    pub(crate) compiled: CompiledPolicy,
    /// Takes all its credentials out of what comes back.
    pub(crate) redactor: Redactor,
    credentials: HashMap<SecretRef, Value>,
}

struct Value {
    value: SecretValue,
    hosts: Option<Vec<HostPattern>>,
}

impl Revision {
    /// Compiles what was pushed.
    pub(crate) fn build(revised: Revised) -> Result<Self, RevisionError> {
        let policy =
            Policy::parse(&revised.policy).map_err(|errors| RevisionError::Policy(one_line(&errors)))?;
        let unsupported = chiton_policy::unsupported(&policy);
        if let Some(first) = unsupported.first() {
            return Err(RevisionError::Unsupported(first.to_string()));
        }
        let redactor = Redactor::new(revised.credentials.iter().map(|credential| &credential.value))?;
        let credentials = revised.credentials.into_iter().map(value_of).collect();
        let compiled = chiton_policy::compile(&policy).with_revision(revised.revision);
        Ok(Self { number: revised.revision, compiled, redactor, credentials })
    }

    /// The value of a reference, where there is one and it may go to this host.
    pub(crate) fn credential(&self, reference: &SecretRef, host: &Host) -> Option<&SecretValue> {
        let Value { value, hosts } = self.credentials.get(reference)?;
        let bound_elsewhere =
            hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|pattern| pattern.matches(host)));
        (!bound_elsewhere && !value.is_empty()).then_some(value)
    }
}

fn value_of(credential: Credential) -> (SecretRef, Value) {
    // A pattern that is none matches nothing: the credential then goes nowhere by it.
    let patterns =
        |hosts: Vec<String>| hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
    let hosts = credential.hosts.map(patterns);
    (credential.reference, Value { value: credential.value, hosts })
}

fn one_line(errors: &impl std::fmt::Display) -> String {
    errors.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
