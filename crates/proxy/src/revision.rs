//! A revision of the policy, compiled, with the values of its credentials.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chiton_api::control::{Credential, Revised};
use chiton_aws::Credentials;
use chiton_llm::redact::{Redactor, Unredactable};
use chiton_policy::{CompiledPolicy, Host, HostPattern, Policy, SentSecret, model::CredentialPlace};
use chiton_secret::{SecretRef, SecretValue};
use http::{HeaderMap, HeaderName};

use crate::{
    given::{Gave, Past, Placed, Sent},
    inject,
    owners::Led,
};

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
    /// Credentials are for the revision in force.
    #[error("the credentials are of revision {offered}, and {current} is enforced")]
    NotCurrent {
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
    /// Takes all its credentials out of what comes back, and those of revisions before.
    pub(crate) redactors: Redactors,
    /// Where the executables that it names lead.
    pub(crate) led: Arc<Led>,
    credentials: HashMap<SecretRef, Value>,
    sent: Sent,
    /// What it takes out by itself.
    values: Vec<SecretValue>,
    past: Past,
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
    hosts: Option<Arc<[HostPattern]>>,
    /// It is put into no request after this moment.
    ends: Option<Instant>,
}

/// Why a credential is not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCredential {
    /// There is none, or it is bound to other hosts.
    NotFor,
    /// Its time is over, and its store gave no other.
    Over,
}

impl NoCredential {
    /// As a refusal says it; the agent is not told where it is kept.
    pub(crate) const fn said(self, rule: bool) -> &'static str {
        match (self, rule) {
            (Self::NotFor, true) => "the rule's credential is not there, or is bound to other hosts",
            (Self::NotFor, false) => "the route's credential is not there, or is bound to other hosts",
            (Self::Over, true) => {
                "the rule's credential is not given by its backend any more; `chiton secret test`, outside, says why"
            }
            (Self::Over, false) => {
                "the route's credential is not given by its backend any more; `chiton secret test`, outside, says why"
            }
        }
    }
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
        let values = values_of(&revised.credentials, &policy);
        let redactors = Redactors::new(&values)?;
        let sent = Sent::by(&policy);
        let credentials = revised.credentials.into_iter().map(value_of).collect();
        let compiled = chiton_policy::compile(&policy).with_revision(revised.revision);
        let document = policy.to_json();
        let (number, led) = (revised.revision, Arc::default());
        let past = Past::default();
        Ok(Self { number, compiled, document, redactors, led, credentials, sent, values, past })
    }

    /// The same, to come after an older one: what that gave to its hosts, and what it remembered, is still taken out of
    /// what comes from them.
    #[must_use]
    pub(crate) fn after(mut self, older: &Self) -> Self {
        self.past = Past::of(older.gave(), &older.past, &self.gave());
        loop {
            let all: Vec<_> = self.values.iter().chain(self.past.values()).cloned().collect();
            match Redactors::new(&all) {
                Ok(redactors) => self.redactors = redactors,
                // All of them together are too much.
                Err(_) if self.past.forget_one() => continue,
                Err(_) => {}
            }
            return self;
        }
    }

    /// The same policy with credentials as they are now. One without a value is the one before: with a time of
    /// its own (0: withheld, and only taken out of responses), or with the time that it had.
    pub(crate) fn refreshed(mut revised: Revised, current: &Self) -> Result<Self, RevisionError> {
        if revised.revision != current.number {
            return Err(RevisionError::NotCurrent { offered: revised.revision, current: current.number });
        }
        let mut as_they_are = Vec::new();
        for credential in revised.credentials.iter_mut().filter(|credential| credential.value.is_empty()) {
            let Some(known) = current.credentials.get(&credential.reference) else { continue };
            credential.value = known.value.clone();
            credential.hosts =
                known.hosts.as_ref().map(|hosts| hosts.iter().map(ToString::to_string).collect());
            if credential.valid_ms.is_none() {
                as_they_are.push((credential.reference.clone(), known.ends));
            }
        }
        // Nothing is known of the others, and so nothing can be put in or taken out.
        revised.credentials.retain(|credential| !credential.value.is_empty());
        let mut refreshed = Self::build(revised)?;
        for (reference, ends) in as_they_are {
            if let Some(value) = refreshed.credentials.get_mut(&reference) {
                value.ends = ends;
            }
        }
        refreshed.led = Arc::clone(&current.led);
        Ok(refreshed)
    }

    /// Whether any credential may go to this host, or could: then whatever comes from there may hold one.
    pub(crate) fn gives_to(&self, host: &Host) -> bool {
        let gives = self.sent.to(host).any(|(secret, _)| self.credential(secret, host).is_some());
        gives || self.past.gave_to(host)
    }

    /// Whether whatever may go to this host is a key that signs, and is not sent itself.
    pub(crate) fn only_signs_for(&self, host: &Host) -> bool {
        self.only_keys_for(host, |_| true)
    }

    /// The same, and no token is sent beside it either.
    pub(crate) fn sends_nothing_to(&self, host: &Host) -> bool {
        self.only_keys_for(host, |key| key.session_token.is_none())
    }

    fn only_keys_for(&self, host: &Host, fits: impl Fn(&Credentials) -> bool) -> bool {
        let is_key = |value: &SecretValue| Credentials::parse(value).is_ok_and(|key| fits(&key));
        let signs = |(secret, place): &Placed| {
            let value = self.credential(secret, host);
            *place == Some(CredentialPlace::Aws) && value.is_none_or(is_key)
        };
        self.sent.to(host).all(signs) && !self.past.gave_to(host)
    }

    /// Whether every credential that may go to this host could go there by an older revision, with the same value and
    /// written in the same way: then what that one takes out of the host's responses is enough.
    pub(crate) fn gives_no_more_than(&self, older: &Self, host: &Host) -> bool {
        self.given_to(host).all(|form| older.given_to(host).any(|known| known == form))
    }

    /// Every form of every credential that may go to this host.
    fn given_to<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = SecretValue> + 'a {
        let given = self.sent.to(host).filter_map(|(secret, place)| {
            let value = self.credential(secret, host)?;
            Some(forms_of(value, place.as_ref()))
        });
        given.flatten()
    }

    /// Everything that it gives, and where.
    fn gave(&self) -> Vec<Gave> {
        let gave = self.sent.all().filter_map(|(host, (secret, place))| {
            let Value { value, hosts, .. } = self.credentials.get(secret)?;
            Some(Gave { host, bound: hosts.clone(), forms: forms_of(value, place.as_ref()) })
        });
        gave.collect()
    }

    /// The value of a reference to put into a request to this host.
    pub(crate) fn usable(&self, reference: &SecretRef, host: &Host) -> Result<&SecretValue, NoCredential> {
        let over = |known: &Value| known.ends.is_some_and(|ends| Instant::now() >= ends);
        if self.credentials.get(reference).is_some_and(over) {
            return Err(NoCredential::Over);
        }
        self.credential(reference, host).ok_or(NoCredential::NotFor)
    }

    /// The value of a reference, where there is one and it may go, or could go, to this host.
    fn credential(&self, reference: &SecretRef, host: &Host) -> Option<&SecretValue> {
        let Value { value, hosts, .. } = self.credentials.get(reference)?;
        let bound_elsewhere =
            hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|pattern| pattern.matches(host)));
        (!bound_elsewhere && !value.is_empty()).then_some(value)
    }
}

/// Every value, as it is and as it is written where a rule or a route puts it: a server could say back either.
fn values_of(credentials: &[Credential], policy: &Policy) -> Vec<SecretValue> {
    let mut values: Vec<_> = credentials.iter().map(|credential| credential.value.clone()).collect();
    for SentSecret { secret, place, .. } in chiton_policy::secret_hosts(policy) {
        let of_it = credentials.iter().filter(|credential| credential.reference == secret);
        for form in of_it.flat_map(|credential| forms_of(&credential.value, place.as_ref())) {
            if !values.contains(&form) {
                values.push(form);
            }
        }
    }
    values
}

/// A value as it is, and as it is written in its place.
fn forms_of(value: &SecretValue, place: Option<&CredentialPlace>) -> Vec<SecretValue> {
    let forms = place.map(|place| inject::forms(place, value)).unwrap_or_default();
    // Padding may be left off.
    let forms = forms.iter().map(unpadded).filter(|form| form != value);
    std::iter::once(value.clone()).chain(forms).collect()
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
    let ends = credential.valid_ms.map(|left| Instant::now() + Duration::from_millis(left));
    (credential.reference, Value { value: credential.value, hosts, ends })
}

fn one_line(errors: &impl std::fmt::Display) -> String {
    errors.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u64, credential: &str, value: &str) -> Revision {
        let policy = format!(
            "dynamic: {{network: {{http: [{{host: a.test, paths: [/x], credential: {credential}}}, {{host: a.test, paths: [/y]}}]}}}}"
        );
        let credential = Credential {
            reference: "local://key".parse().unwrap(),
            value: SecretValue::new(value.as_bytes().to_vec()),
            hosts: None,
            valid_ms: None,
        };
        Revision::build(Revised { revision: number, policy, credentials: vec![credential] }).unwrap()
    }

    #[test]
    fn another_value_or_way_of_writing_it_is_more_than_an_older_revision_gave() {
        const VALUE: &str = "sk/0123456789";
        let (host, other) = (Host::parse("a.test").unwrap(), Host::parse("b.test").unwrap());
        let older = revision(1, "'local://key'", VALUE);
        for (credential, value, more) in [
            ("'local://key'", VALUE, false),
            ("{secret: 'local://key', header: x-key}", VALUE, false),
            ("'local://key'", "sk/another-9876", true),
            ("{secret: 'local://key', basic: {user: me}}", VALUE, true),
            ("{secret: 'local://key', query: key}", VALUE, true),
        ] {
            let newer = revision(2, credential, value).after(&older);
            assert_eq!(!newer.gives_no_more_than(&older, &host), more, "{credential}");
            assert!(newer.gives_no_more_than(&older, &other));
        }
    }
}
