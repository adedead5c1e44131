//! `vault://mount/path#field`: HashiCorp Vault and OpenBao, the KV secrets engine in versions 1 and 2.
//!
//! A small client of the published HTTP API: log in, find out which engine is mounted where, read. The token is renewed
//! when two thirds of its time are over, and got anew where that is refused. Nothing of a server's own words goes into
//! an error: they could hold anything.

mod address;
mod answers;
mod client;
mod error;
mod login;
mod mounts;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use chiton_secret::{Scheme, SecretRef, SecretValue};
use tokio::sync::Mutex;

use crate::{Fault, Fetched, Lifetime, SecretStore, backends::Plain};
use answers::Secret;
use client::{Ask, Client, fault};
use login::Session;
use mounts::Mounts;

pub use address::VaultAddress;
pub use error::VaultError;
pub use settings::{KvVersion, Login, VaultSettings};

/// A Vault, as one set of settings reaches it.
pub struct Vault {
    settings: VaultSettings,
    client: Client,
    mounts: Mounts,
    /// Where the means to log in are.
    plain: Plain,
    session: Mutex<Option<Session>>,
}

impl Vault {
    /// By these settings. Nothing is asked yet.
    pub(crate) fn of(settings: VaultSettings, plain: Plain) -> Result<Self, VaultError> {
        let client = Client::new(&settings)?;
        let mounts = Mounts::new(settings.mounts.clone());
        Ok(Self { settings, client, mounts, plain, session: Mutex::default() })
    }

    /// What it was made by.
    #[must_use]
    pub const fn settings(&self) -> &VaultSettings {
        &self.settings
    }

    async fn read(&self, path: &str, token: &SecretValue) -> Result<(KvVersion, Secret), VaultError> {
        let (version, target) = self.mounts.target(&self.client, path, token).await?;
        let answer = self.client.ask(Ask::get(&target).by(token)).await?;
        match answer.status() {
            200 => Ok((version, Secret::parse(version, answer.body())?)),
            404 => {
                // The mount may be another by now.
                self.mounts.forget(path);
                Err(VaultError::Missing { field: None })
            }
            403 => Err(VaultError::Forbidden),
            _ => Err(fault(&answer)),
        }
    }

    /// Reads; with a new token where the one at hand is not taken any more.
    async fn read_as_somebody(&self, path: &str) -> Result<(KvVersion, Secret), VaultError> {
        let (token, old) = self.token().await?;
        match self.read(path, &token).await {
            Err(VaultError::Forbidden | VaultError::HiddenMount) if old => {
                self.forget_token(&token).await;
                let (token, _) = self.token().await?;
                self.read(path, &token).await
            }
            read => read,
        }
    }

    fn lifetime(&self, lease: std::time::Duration, renewal: Option<std::time::Duration>) -> Lifetime {
        let keep = self.settings.keep;
        let valid = if lease.is_zero() { keep } else { keep.min(lease) };
        let refresh = self.settings.refresh.min(valid * 2 / 3);
        // Nobody else comes by to renew the token.
        let refresh = renewal.map_or(refresh, |renewal| refresh.min(renewal)).max(MOST_OFTEN);
        Lifetime { refresh, valid }
    }
}

/// No server is asked for a value more often.
const MOST_OFTEN: std::time::Duration = std::time::Duration::from_secs(1);

#[async_trait]
impl SecretStore for Vault {
    fn scheme(&self) -> Scheme {
        Scheme::Vault
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let (_, secret) = self.read_as_somebody(reference.locator()).await?;
        let (written, lease) = (secret.written(), secret.lease());
        let value = secret.into_field(reference.field())?;
        let lifetime = Some(self.lifetime(lease, self.renewal_in().await));
        Ok(Fetched { value, hosts: None, written, lifetime, warning: None })
    }
}
