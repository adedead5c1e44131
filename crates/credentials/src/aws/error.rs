//! What AWS, or the way to it, can say instead of a value.

use std::time::Duration;

use chiton_aws::SignError;

use super::ChainError;
use crate::{AddressError, client::AskError};

/// Why one of Amazon's services is not asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody says where.
    #[error(
        "no region is told; set `[aws] region` in config.toml, AWS_REGION in the gateway's environment, or name the secret by its ARN"
    )]
    NoRegion,
    /// It is no region's name.
    #[error("its region is no name as `us-east-1`")]
    Region,
    /// An address of the environment or the shared files is none.
    #[error("`{name}` of AWS's own settings: {error}")]
    Endpoint {
        /// The variable, or the key.
        name: &'static str,
        /// Why.
        error: AddressError,
    },
    /// It cannot be signed.
    #[error(transparent)]
    Unsignable(#[from] SignError),
    /// There is no answer.
    #[error(transparent)]
    Asked(#[from] AskError),
}

/// Why AWS Secrets Manager does not give a value. No message holds one, nor anything that the server wrote.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Nobody said how.
    #[error("AWS Secrets Manager is not asked before the configuration is read")]
    NotConfigured,
    /// There are no credentials to ask with.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It is not asked, or does not answer.
    #[error("AWS Secrets Manager cannot be asked: {0}")]
    Call(#[from] CallError),
    /// The credentials are not taken.
    #[error(
        "AWS does not take the credentials ({0}); check whether they were revoked, whether the region is theirs, and this machine's clock"
    )]
    Refused(&'static str),
    /// They may not.
    #[error(
        "AWS does not let these credentials read it ({0}); allow `secretsmanager:GetSecretValue` on the secret, and `kms:Decrypt` on a key of its own"
    )]
    Forbidden(&'static str),
    /// It wants fewer questions.
    #[error("AWS Secrets Manager limits how often it may be asked ({code})")]
    TooMany {
        /// As it named it.
        code: &'static str,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The key of the secret is not to be had.
    #[error("AWS cannot decrypt the secret (DecryptionFailure); check that its KMS key is enabled")]
    Decryption,
    /// It failed.
    #[error("AWS Secrets Manager failed ({0})")]
    Failed(u16),
    /// It said what is not in the published interface.
    #[error("AWS Secrets Manager answers in a way that is not its published interface: {0}")]
    Odd(&'static str),
    /// There is no such secret, or no such version.
    #[error("AWS Secrets Manager has no such secret, or not this version of it (ResourceNotFoundException)")]
    Missing,
    /// It is no name that a secret can have.
    #[error("AWS Secrets Manager takes the reference for no secret's name ({0})")]
    BadName(&'static str),
    /// It is not given in the state that it is in.
    #[error(
        "AWS Secrets Manager does not give the secret as it is ({0}); it is marked for deletion, or was never written"
    )]
    Deleted(&'static str),
    /// A field is named, and the secret has none.
    #[error("the secret in AWS is no JSON object of fields; leave `#field` out to have the whole of it")]
    NoFields,
    /// There is no such field.
    #[error("the secret in AWS has no field `{0}`")]
    NoField(String),
    /// The field is no text.
    #[error("the field of the secret in AWS is {0} and not a text")]
    NotText(&'static str),
}

impl AwsError {
    /// Whether the service itself says that there is no such value.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Missing
            | Self::BadName(_)
            | Self::Deleted(_)
            | Self::NoFields
            | Self::NoField(_)
            | Self::NotText(_) => true,
            Self::NotConfigured
            | Self::Chain(_)
            | Self::Call(_)
            | Self::Refused(_)
            | Self::Forbidden(_)
            | Self::TooMany { .. }
            | Self::Decryption
            | Self::Failed(_)
            | Self::Odd(_) => false,
        }
    }
}
