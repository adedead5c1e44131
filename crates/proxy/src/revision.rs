//! A revision of the policy, compiled, with the values of its credentials.

use std::collections::HashMap;

use chiton_api::control::{Credential, Revised};
use chiton_llm::redact::{Redactor, Unredactable};
use chiton_policy::{CompiledPolicy, Host, HostPattern, Policy};
use chiton_secret::{SecretRef, SecretValue};
use http::{HeaderMap, HeaderName};

use crate::{inject, owners::Led};

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
    sent: Sent,
}

/// Which secrets the policy sends where.
#[derive(Default)]
struct Sent {
    literal: HashMap<Host, Vec<SecretRef>>,
    wild: Vec<(HostPattern, SecretRef)>,
}

impl Sent {
    fn by(policy: &Policy) -> Self {
        let mut sent = Self::default();
        for (pattern, reference) in chiton_policy::secret_hosts(policy) {
            match pattern.literal() {
                Some(host) => sent.literal.entry(host.clone()).or_default().push(reference),
                None => sent.wild.push((pattern, reference)),
            }
        }
        sent
    }

    fn to<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a SecretRef> {
        let wild = self.wild.iter().filter(|(pattern, _)| pattern.matches(host));
        self.literal.get(host).into_iter().flatten().chain(wild.map(|(_, reference)| reference))
    }
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

    fn new(values: &[SecretValue]) -> Result<Self, Unredactable> {
        let lower = |value: &SecretValue| SecretValue::new(value.dangerous_expose().to_ascii_lowercase());
        let lower: Vec<_> = values.iter().map(lower).collect();
        Ok(Self { values: Redactor::new(values)?, names: Redactor::new(&lower)? })
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
        let redactors = Redactors::new(&values_of(&revised.credentials, &policy))?;
        let sent = Sent::by(&policy);
        let credentials = revised.credentials.into_iter().map(value_of).collect();
        let compiled = chiton_policy::compile(&policy).with_revision(revised.revision);
        let document = policy.to_json();
        let (number, led) = (revised.revision, Led::default());
        Ok(Self { number, compiled, document, redactors, led, credentials, sent })
    }

    /// Whether any credential may go to this host: then whatever comes from there may hold one.
    pub(crate) fn gives_to(&self, host: &Host) -> bool {
        self.given_to(host).next().is_some()
    }

    /// Whether every credential that may go to this host could go there by an older revision, with the same value:
    /// then what that one takes out of the host's responses is enough.
    pub(crate) fn gives_no_more_than(&self, older: &Self, host: &Host) -> bool {
        self.given_to(host).all(|given| older.given_to(host).any(|known| known == given))
    }

    fn given_to<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = (&'a SecretRef, &'a SecretValue)> {
        self.sent.to(host).filter_map(|reference| Some((reference, self.credential(reference, host)?)))
    }

    /// The value of a reference, where there is one and it may go to this host.
    pub(crate) fn credential(&self, reference: &SecretRef, host: &Host) -> Option<&SecretValue> {
        let Value { value, hosts } = self.credentials.get(reference)?;
        let bound_elsewhere =
            hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|pattern| pattern.matches(host)));
        (!bound_elsewhere && !value.is_empty()).then_some(value)
    }
}

/// Every value, as it is and as it is written where a rule puts it: a server could say back either.
fn values_of(credentials: &[Credential], policy: &Policy) -> Vec<SecretValue> {
    let mut values: Vec<_> = credentials.iter().map(|credential| credential.value.clone()).collect();
    for placed in policy.dynamic.http.iter().filter_map(|rule| rule.credential.as_ref()) {
        let of_it = credentials.iter().filter(|credential| credential.reference == placed.secret);
        for written in of_it.filter_map(|credential| inject::written(&placed.place, &credential.value).ok()) {
            // Padding may be left off.
            let written = unpadded(&written);
            if !values.contains(&written) {
                values.push(written);
            }
        }
    }
    values
}

fn unpadded(value: &SecretValue) -> SecretValue {
    let bytes = value.dangerous_expose();
    let end = bytes.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    SecretValue::new(bytes.get(..end).unwrap_or_default().to_vec())
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
