//! What a secret is called and where it may go.

use std::{fmt, str::FromStr};

use chiton_policy::{HostPattern, HostPatternError};
use chiton_secret::{Scheme, SecretRef};
use serde::{Deserialize, Serialize};

/// A secret's name: what stands after `local://`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// The text is no name for a secret. It is not repeated: it may be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret's name has letters, digits, `-`, `_` and `.`, at most 128")]
pub struct BadName;

const LONGEST_NAME: usize = 128;

impl SecretName {
    /// The name that a `local://` reference holds.
    #[must_use]
    pub fn of(reference: &SecretRef) -> Option<Self> {
        (reference.scheme() == Scheme::Local).then(|| reference.locator().parse().ok()).flatten()
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let reference: Result<SecretRef, _> = format!("{}://{text}", Scheme::Local).parse();
        if reference.is_err() || text.len() > LONGEST_NAME {
            return Err(BadName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SecretName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host patterns that a secret may go to. None given: any host that a policy sends it to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostList(Vec<String>);

/// The text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is no host for a secret: {source}")]
pub struct BadHost {
    /// What was given, at most 80 characters of it.
    host: String,
    /// Why.
    #[source]
    source: HostPatternError,
}

impl HostList {
    /// These patterns, in the policy language's own form.
    ///
    /// # Errors
    /// When one is none.
    pub fn new<I>(patterns: I) -> Result<Self, BadHost>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parsed = patterns.into_iter().map(|pattern| parse_host(pattern.as_ref()));
        // What was sealed is read back as it is: a later list of public suffixes must not lock a store.
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// The patterns.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// The patterns; none where any host is meant.
    #[must_use]
    pub fn into_option(self) -> Option<Vec<String>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

fn parse_host(text: &str) -> Result<String, BadHost> {
    let shown = || text.chars().filter(|c| !c.is_control()).take(80).collect();
    HostPattern::parse(text)
        .map(|pattern| pattern.to_string())
        .map_err(|source| BadHost { host: shown(), source })
}
