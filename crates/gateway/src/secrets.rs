//! Secret references become values here, on their way to a proxy, and nowhere else in the gateway.
//!
//! `env://NAME` is a variable of the gateway's own environment: of the shell that started it, which is the one
//! of the first command when it was started on demand. The environment of later commands never counts.

use std::sync::Arc;

use chiton_api::{control::Credential, http};
use chiton_credentials::{Backends, HostList, KeySource, LocalError, LocalStore, SecretName, SecretStore};
use chiton_secret::{SecretRef, SecretValue};
use tokio::task::spawn_blocking;

use crate::error::GatewayError;

/// The backends.
pub(crate) struct Secrets {
    local: Arc<LocalStore>,
    backends: Backends,
}

impl Secrets {
    /// The local store in the state folder; nothing is opened yet.
    pub(crate) fn new(state: &std::path::Path) -> Result<Self, LocalError> {
        let local = Arc::new(LocalStore::new(state, KeySource::from_environment()?));
        Ok(Self { backends: Backends::new(Arc::clone(&local)), local })
    }

    /// One value for every reference, or why not.
    pub(crate) async fn resolve(&self, references: Vec<SecretRef>) -> Result<Vec<Credential>, GatewayError> {
        let mut credentials = Vec::new();
        for reference in references {
            let resolved = self.backends.resolve(&reference).await;
            let resolved =
                resolved.map_err(|error| GatewayError::Secret { message: error.to_string(), hint: None })?;
            if let Some(warning) = resolved.warning {
                tracing::warn!("{warning}");
            }
            credentials.push(Credential { reference, value: resolved.value, hosts: resolved.hosts });
        }
        Ok(credentials)
    }

    /// Stores a value.
    pub(crate) async fn set(
        &self,
        name: &str,
        value: SecretValue,
        hosts: Option<Vec<String>>,
    ) -> Result<(), GatewayError> {
        let name = parse(name)?;
        let hosts =
            HostList::new(hosts.unwrap_or_default()).map_err(|e| GatewayError::BadRequest(e.to_string()))?;
        self.with_store(move |store| store.set(&name, &value, &hosts)).await?;
        Ok(())
    }

    /// What is stored, without values.
    pub(crate) async fn list(&self) -> Result<Vec<http::SecretInfo>, GatewayError> {
        let stored = self.with_store(LocalStore::list).await?;
        let info = |info: chiton_credentials::SecretInfo| http::SecretInfo {
            name: info.name.to_string(),
            hosts: info.hosts.into_option(),
        };
        Ok(stored.into_iter().map(info).collect())
    }

    /// Removes one.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), GatewayError> {
        let parsed = parse(name)?;
        let shown = parsed.to_string();
        match self.with_store(move |store| store.remove(&parsed)).await? {
            true => Ok(()),
            false => Err(GatewayError::NotFound { what: "secret", name: shown }),
        }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        job: impl FnOnce(&LocalStore) -> Result<T, LocalError> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let local = Arc::clone(&self.local);
        let done = spawn_blocking(move || job(&local)).await.map_err(|_| GatewayError::Lost)?;
        done.map_err(|error| match error {
            LocalError::Unusable(_) => GatewayError::BadRequest(error.to_string()),
            other => GatewayError::Secret { message: other.to_string(), hint: None },
        })
    }
}

fn parse(name: &str) -> Result<SecretName, GatewayError> {
    name.parse()
        .map_err(|error: chiton_credentials::local::BadName| GatewayError::BadRequest(error.to_string()))
}
