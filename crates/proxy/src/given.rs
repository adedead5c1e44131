//! Which credentials a policy gives to which hosts, and those that earlier revisions gave.
//!
//! A host may keep a value, and say it when the policy has long another one. So what a revision gave is remembered
//! while the proxy runs, up to [`MOST_VALUES`]: it is taken out of what comes from the same hosts.

use std::{collections::HashMap, sync::Arc};

use chiton_policy::{Host, HostPattern, Policy, SentSecret, model::CredentialPlace};
use chiton_secret::{SecretRef, SecretValue};

/// How many values of earlier revisions are remembered, each form for itself: the latest ones.
pub(crate) const MOST_VALUES: usize = 64;
/// For how many pairs of a host pattern and a credential.
const MOST_PAIRS: usize = 1024;

/// A secret, and where it stands in a request; nothing for the place of a provider's dialect.
pub(crate) type Placed = (SecretRef, Option<CredentialPlace>);

/// Which secrets a policy sends where.
#[derive(Default)]
pub(crate) struct Sent {
    literal: HashMap<Host, Vec<Placed>>,
    wild: Vec<(HostPattern, Placed)>,
}

impl Sent {
    /// By this policy.
    pub(crate) fn by(policy: &Policy) -> Self {
        let mut sent = Self::default();
        for SentSecret { host, secret, place } in chiton_policy::secret_hosts(policy) {
            match host.literal() {
                Some(literal) => sent.literal.entry(literal.clone()).or_default().push((secret, place)),
                None => sent.wild.push((host, (secret, place))),
            }
        }
        sent
    }

    /// What goes to this host.
    pub(crate) fn to<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Placed> {
        let wild = self.wild.iter().filter(|(pattern, _)| pattern.matches(host));
        self.literal.get(host).into_iter().flatten().chain(wild.map(|(_, placed)| placed))
    }

    /// Every host pattern with what goes there.
    pub(crate) fn all(&self) -> impl Iterator<Item = (HostPattern, &Placed)> {
        let literal = self.literal.iter();
        let literal = literal.flat_map(|(host, all)| all.iter().map(|placed| (host.clone().into(), placed)));
        literal.chain(self.wild.iter().map(|(pattern, placed)| (pattern.clone(), placed)))
    }
}

/// A value that could go to some hosts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Gave {
    /// By the policy.
    pub(crate) host: HostPattern,
    /// By the secret itself.
    pub(crate) bound: Option<Arc<[HostPattern]>>,
    /// As it is, and as it was written.
    pub(crate) forms: Vec<SecretValue>,
}

impl Gave {
    fn to(&self, host: &Host) -> bool {
        let bound = self.bound.as_ref();
        self.host.matches(host) && bound.is_none_or(|bound| bound.iter().any(|known| known.matches(host)))
    }
}

/// What earlier revisions gave, the latest first.
#[derive(Clone, Default)]
pub(crate) struct Past(Vec<Gave>);

impl Past {
    /// What a revision gave and what it remembered, without what is still given.
    pub(crate) fn of(gave: Vec<Gave>, before: &Self, still: &[Gave]) -> Self {
        let mut past: Vec<Gave> = Vec::new();
        let mut values: Vec<SecretValue> = Vec::new();
        for gave in gave.into_iter().chain(before.0.iter().cloned()) {
            if still.contains(&gave) || past.contains(&gave) {
                continue;
            }
            let new = gave.forms.iter().filter(|form| !values.contains(form)).cloned().collect::<Vec<_>>();
            if values.len() + new.len() > MOST_VALUES || past.len() == MOST_PAIRS {
                break;
            }
            values.extend(new);
            past.push(gave);
        }
        Self(past)
    }

    /// Whether any of it could go to this host.
    pub(crate) fn gave_to(&self, host: &Host) -> bool {
        self.0.iter().any(|gave| gave.to(host))
    }

    /// Every value.
    pub(crate) fn values(&self) -> impl Iterator<Item = &SecretValue> {
        self.0.iter().flat_map(|gave| &gave.forms)
    }

    /// Forgets the earliest. Whether there was any.
    pub(crate) fn forget_one(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
