//! A revision of the policy, compiled, with the values of its credentials.

use std::collections::HashMap;

use chiton_api::control::{Credential, Revised};
use chiton_llm::redact::{Redactor, Unredactable};
use chiton_policy::{CompiledPolicy, Host, HostPattern, Policy};
use chiton_secret::{SecretRef, SecretValue};
use http::{HeaderMap, HeaderName};

use crate::owners::Led;

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
    /// The same as a document, for whoever asks inside.
    pub(crate) document: serde_json::Value,
    /// Takes all its credentials out of what comes back.
    pub(crate) redactors: Redactors,
    /// Where the executables that it names lead.
    pub(crate) led: Led,
    credentials: HashMap<SecretRef, Value>,
}

/// What takes credentials out of responses.
#[derive(Clone, Debug)]
pub(crate) struct Redactors {
    /// Out of bodies, and the values of fields.
    pub(crate) values: Redactor,
    /// Finds them in the names of fields, which have lower case only.
    names: Redactor,
}

impl Redactors {
    /// Where nothing was put in.
    pub(crate) const NONE: Self = Self { values: Redactor::NONE, names: Redactor::NONE };

    fn new(credentials: &[Credential]) -> Result<Self, Unredactable> {
        let lower = |value: &SecretValue| SecretValue::new(value.dangerous_expose().to_ascii_lowercase());
        let lower: Vec<_> = credentials.iter().map(|credential| lower(&credential.value)).collect();
        let values = Redactor::new(credentials.iter().map(|credential| &credential.value))?;
        Ok(Self { values, names: Redactor::new(&lower)? })
    }

    /// Cleans fields; one with a credential in its name is removed.
    pub(crate) fn scrub_headers(&self, headers: &mut HeaderMap) {
        self.values.scrub_headers(headers);
        let named = |name: &&HeaderName| self.names.scrub(name.as_str().as_bytes()).is_some();
        for name in headers.keys().filter(named).cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
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
        let redactors = Redactors::new(&revised.credentials)?;
        let credentials = revised.credentials.into_iter().map(value_of).collect();
        let compiled = chiton_policy::compile(&policy).with_revision(revised.revision);
        let document = policy.to_json();
        Ok(Self { number: revised.revision, compiled, document, redactors, led: Led::default(), credentials })
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
