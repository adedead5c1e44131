//! Why there are no credentials. No message holds one, nor anything that a server wrote.

use std::{fmt, io, path::PathBuf};

use super::super::CallError;

/// Who is asked for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// `AssumeRole`, `AssumeRoleWithWebIdentity`.
    Sts,
    /// A container's agent.
    Container,
    /// The instance's metadata.
    Instance,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sts => "AWS STS",
            Self::Container => "the container's agent",
            Self::Instance => "the instance's metadata",
        })
    }
}

/// Why there are no AWS credentials.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Every place was looked at.
    #[error(
        "no AWS credentials are found: none in the gateway's environment, in profile `{profile}`, by web identity or of a container, and the instance's metadata is not there ({instance}); set `[aws] profile`, or the variables, and start the gateway again"
    )]
    None {
        /// The profile that was looked at.
        profile: String,
        /// Why not of the instance.
        instance: String,
    },
    /// Something is there, and what belongs to it is not.
    #[error("AWS credentials in {place} lack `{missing}`")]
    Half {
        /// Where.
        place: &'static str,
        /// What.
        missing: &'static str,
    },
    /// As that, in a profile.
    #[error("AWS profile `{profile}` lacks `{missing}`")]
    HalfProfile {
        /// Which.
        profile: String,
        /// What.
        missing: &'static str,
    },
    /// It is not in the files.
    #[error(
        "there is no AWS profile `{0}`; look into the files that AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name, or `~/.aws` of the gateway's user"
    )]
    NoProfile(String),
    /// It has none.
    #[error("AWS profile `{profile}` has no credentials")]
    NoKeys {
        /// Which.
        profile: String,
    },
    /// A way that is not gone here.
    #[error(
        "AWS profile `{profile}` uses `{key}`, which is not supported; use keys, `role_arn` with `source_profile`, a web identity, or `[exec.NAME]` of config.toml"
    )]
    Unsupported {
        /// Which.
        profile: String,
        /// What.
        key: &'static str,
    },
    /// A role is assumed by somebody who assumes a role, and so on.
    #[error("AWS profile `{0}` leads to itself, or through more than five others")]
    Circle(String),
    /// It is not read.
    #[error("`{}` cannot be read: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is of another form.
    #[error("`{}`, line {line}, is not of AWS's form: expected `[section]` or `key = value`", .path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An address that no credentials are taken from.
    #[error(
        "`{0}` names a server that no credentials are taken from; it takes `https://`, loopback, and AWS's own addresses on the link"
    )]
    Place(&'static str),
    /// It is not asked, or does not answer.
    #[error("{whom} cannot be asked for AWS credentials: {error}")]
    Call {
        /// Who.
        whom: Whom,
        /// Why.
        error: CallError,
    },
    /// It says no.
    #[error("{whom} does not give AWS credentials ({status}{})", .code.map(|code| format!(", {code}")).unwrap_or_default())]
    Refused {
        /// Who.
        whom: Whom,
        /// What it said.
        status: u16,
        /// And more of it, where that is known here.
        code: Option<&'static str>,
    },
    /// It says something else.
    #[error("{0} answers in a way that is not its published interface")]
    Odd(Whom),
}
