//! What every place of secrets does alike: one value for one reference, or why there is none.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use chiton_secret::{Scheme, SecretRef, SecretValue};

use crate::{AwsError, ExecError, LocalError, Unusable, VaultError};

/// One kind of place where secrets are kept. The conformance suite says what all of them have in common.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The scheme of its references; it is asked for no other.
    fn scheme(&self) -> Scheme;

    /// Asks for a value, now.
    ///
    /// # Errors
    /// When there is none, or it cannot be had. No error holds a value.
    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault>;
}

/// A value as its store gives it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The value.
    pub value: SecretValue,
    /// Where it may go, when its owner said so as it was stored.
    pub hosts: Option<Vec<String>>,
    /// When it was written, where the store knows.
    pub written: Option<SystemTime>,
    /// How long it holds; none: until something else is said.
    pub lifetime: Option<Lifetime>,
    /// Something that the user should know: one line.
    pub warning: Option<String>,
}

/// How long a value holds that a server gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// It is asked for again after this time.
    pub refresh: Duration,
    /// Where the server does not give it again, it is used so long and no longer.
    pub valid: Duration,
}

/// Why a reference has no value.
#[derive(Debug, thiserror::Error)]
#[error("`{reference}` cannot be resolved: {fault}")]
pub struct ResolveError {
    /// As the policy writes it.
    pub reference: SecretRef,
    /// What stands in the way.
    #[source]
    pub fault: Fault,
}

/// What stands in the way of a value.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The local store has no such secret.
    #[error("there is no such secret; store it with `chiton secret set {0}`")]
    NoSecret(String),
    /// The local store cannot be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The variable is not there.
    #[error(
        "the gateway's environment has no such variable; set it and start the gateway again (`chiton gateway stop`)"
    )]
    NoVariable,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileFault),
    /// Vault does not give it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// AWS Secrets Manager does not give it.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The operator's command does not give it.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// There is a value, but it cannot be used.
    #[error("its value cannot be used: {0}")]
    Unusable(#[from] Unusable),
}

impl Fault {
    /// Whether the store itself answered, and said that there is no such value: then one from earlier is not used either.
    /// Any other fault may pass.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoSecret(_) | Self::NoVariable | Self::Unusable(_) => true,
            Self::File(FileFault::Io(error)) => error.kind() == std::io::ErrorKind::NotFound,
            Self::File(FileFault::NotAFile | FileFault::Writable(_)) => true,
            Self::Local(_) => false,
            Self::Vault(error) => error.is_final(),
            Self::Aws(error) => error.is_final(),
            Self::Exec(error) => error.is_final(),
        }
    }

    /// How long the server asks not to be asked.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Vault(VaultError::TooMany { retry_after })
            | Self::Aws(AwsError::TooMany { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

/// Why a file with a value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A folder, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Others could put their own value there.
    #[error("everyone may write it; run `chmod go-w {}`", .0.display())]
    Writable(PathBuf),
}
