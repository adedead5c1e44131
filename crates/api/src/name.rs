//! Names and identities of sandboxes, names of drivers: parsed at the edge, once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A sandbox's name: a host name's label in lower case, and never of the form of an identity, so that a
/// text that names a sandbox means one thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
pub struct SandboxName(String);

/// Why a text is no sandbox name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a label.
    #[error(
        "`{0}` is not a sandbox name: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends"
    )]
    NotALabel(String),
    /// Could be taken for an identity.
    #[error("`{0}` is not a sandbox name: it has the form of a sandbox's identity; choose a shorter one")]
    LooksLikeId(String),
    /// Not a ULID in lower case.
    #[error("not a sandbox's identity: expected 26 lower-case letters and digits")]
    NotAnId,
    /// None of the drivers.
    #[error("unknown driver `{0}`: expected one of native, docker, podman, microvm, kubernetes")]
    UnknownDriver(String),
}

impl SandboxName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text has the form of a sandbox's identity: a ULID in lower case.
#[must_use]
pub fn looks_like_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

/// What was given, cut and without control characters, so that it can stand in one line.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl FromStr for SandboxName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-';
        let good = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !good {
            return Err(NameError::NotALabel(shown(text)));
        }
        if looks_like_id(text) {
            return Err(NameError::LooksLikeId(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SandboxName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SandboxName> for String {
    fn from(name: SandboxName) -> String {
        name.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox's identity: a ULID in lower case. Safe in a path, a label and a host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]{26}$")]
pub struct SandboxId(String);

impl SandboxId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SandboxId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if looks_like_id(&text) { Ok(Self(text)) } else { Err(NameError::NotAnId) }
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> String {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The drivers that there are or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriverName {
    /// Namespaces on the host's own kernel.
    Native,
    /// Docker Engine.
    Docker,
    /// Podman.
    Podman,
    /// Firecracker or QEMU.
    Microvm,
    /// A pod.
    Kubernetes,
}

impl DriverName {
    /// As written on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Microvm => "microvm",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DriverName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        [Self::Native, Self::Docker, Self::Podman, Self::Microvm, Self::Kubernetes]
            .into_iter()
            .find(|d| d.as_str() == text)
            .ok_or_else(|| NameError::UnknownDriver(shown(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::{NameError, SandboxName};

    #[test]
    fn names_are_labels() {
        for good in ["a", "demo", "brave-otter", "0", &"x".repeat(63)] {
            assert!(good.parse::<SandboxName>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "a\n", "é", long.as_str()] {
            assert!(matches!(bad.parse::<SandboxName>(), Err(NameError::NotALabel(_))), "{bad}");
        }
        let id = "01jdx0000000000000000000ab";
        assert!(matches!(id.parse::<SandboxName>(), Err(NameError::LooksLikeId(_))));
    }

    #[test]
    fn an_error_is_one_line() {
        let text = "a\n\u{1b}[31m".parse::<SandboxName>().unwrap_err().to_string();
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}
