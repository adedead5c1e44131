//! What Vault, or the way to it, can say instead of a value.

use std::time::Duration;

/// Why Vault does not give a value. No message holds one, nor anything that the server wrote.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The configuration names none.
    #[error("`[vault]` of config.toml names no server; add `address` and a way to log in")]
    NotConfigured,
    /// TLS cannot be set up.
    #[error("Vault cannot be asked: {0}")]
    Tls(#[from] chiton_tls::TlsError),
    /// It is not reached.
    #[error("Vault at {address} is not reached: {why}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        why: String,
    },
    /// It is reached, and does not answer.
    #[error("Vault at {address} does not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// Host and port.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// It is sealed, or being started.
    #[error("Vault is sealed or not ready (503); unseal it")]
    Sealed,
    /// This node serves nobody.
    #[error(
        "this node of Vault is a standby that passes nothing on ({0}); name the active one in `[vault] address`"
    )]
    Standby(u16),
    /// It sends elsewhere, and a token is not carried there.
    #[error(
        "Vault answers with a redirect ({0}), which is not followed; name the node that it leads to in `[vault] address`"
    )]
    Redirected(u16),
    /// It wants fewer questions.
    #[error("Vault limits how often it may be asked (429)")]
    TooMany {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It failed.
    #[error("Vault failed ({0})")]
    Failed(u16),
    /// It said what is not in the published interface.
    #[error("Vault answers in a way that is not its published interface: {0}")]
    Odd(&'static str),
    /// The means to log in are not there.
    #[error("the means to log in to Vault cannot be had: {0}")]
    NoMeans(String),
    /// They are refused.
    #[error(
        "Vault refuses the log-in by {how} ({status}); check `[vault]` of config.toml, and whether it has expired or was revoked"
    )]
    Refused {
        /// Which one.
        how: &'static str,
        /// What it said.
        status: u16,
    },
    /// The token may not.
    #[error(
        "Vault does not let this token read it (403); its policy needs `read` on the secret's path, which for KV version 2 is `MOUNT/data/PATH`"
    )]
    Forbidden,
    /// The token may not see what is mounted.
    #[error(
        "Vault does not tell this token what is mounted there (403): its policy gives it nothing on the path, or name the mount's version under `[vault.mounts]`"
    )]
    HiddenMount,
    /// It is mounted, but keeps no such secrets.
    #[error("what is mounted there is not the KV secrets engine; others are not supported")]
    NotKv,
    /// There is no such secret, or it was deleted.
    #[error("{}", .field.as_ref().map_or("Vault has no such secret".to_owned(), |field| format!("the secret in Vault has no field `{field}`")))]
    Missing {
        /// The field that is not in it.
        field: Option<String>,
    },
    /// Several fields, and none is named.
    #[error(
        "the secret in Vault has {0} fields and none is `value`; name one, as `vault://mount/path#field`"
    )]
    ManyFields(usize),
    /// The field is no text.
    #[error("the field of the secret in Vault is {0} and not a text")]
    NotText(&'static str),
}

impl VaultError {
    /// Whether Vault itself says that there is no such value.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::NotConfigured
            | Self::NotKv
            | Self::Missing { .. }
            | Self::ManyFields(_)
            | Self::NotText(_) => true,
            Self::Tls(_)
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Sealed
            | Self::Standby(_)
            | Self::Redirected(_)
            | Self::TooMany { .. }
            | Self::Failed(_)
            | Self::Odd(_)
            | Self::NoMeans(_)
            | Self::Refused { .. }
            | Self::Forbidden
            | Self::HiddenMount => false,
        }
    }
}
