//! Secret references become values here, on their way to a proxy, and nowhere else in the gateway.
//!
//! `env://NAME` is a variable of the gateway's own environment: of the shell that started it, which is the one
//! of the first command when it was started on demand. The environment of later commands never counts.

use std::{sync::Arc, time::SystemTime};

use chiton_api::{control::Credential, http, paths::Paths};
use chiton_credentials::{
    Backends, Freshness, Hold, HostList, KeySource, Keyring, LocalError, LocalStore, ResolveError, Resolved,
    SecretName,
};
use chiton_secret::{Scheme, SecretRef, SecretValue};
use tokio::{sync::broadcast, task::spawn_blocking};

use crate::{config::Config, error::GatewayError};

/// The backends.
pub(crate) struct Secrets {
    local: Arc<LocalStore>,
    backends: Backends,
    /// Where the configuration is.
    paths: Paths,
    /// References that have another value by now.
    changed: broadcast::Sender<SecretRef>,
}

impl Secrets {
    /// The local store in the state folder; nothing is opened yet.
    pub(crate) fn new(paths: &Paths) -> Result<Self, LocalError> {
        let local = Arc::new(LocalStore::new(&paths.state, KeySource::from_environment()?));
        let (changed, _) = broadcast::channel(64);
        Ok(Self { backends: Backends::new(Arc::clone(&local)), local, paths: paths.clone(), changed })
    }

    /// Tells of references whose values changed, from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<SecretRef> {
        self.changed.subscribe()
    }

    /// Keeps a value of a server for a sandbox that runs.
    pub(crate) fn hold(&self, reference: &SecretRef) -> Option<Hold> {
        self.backends.hold(reference)
    }

    /// Forgets the values of servers that no sandbox needs.
    pub(crate) fn forget_unheld(&self) {
        self.backends.forget_unheld();
    }

    /// One value, or why there is none.
    pub(crate) async fn one(
        &self,
        reference: &SecretRef,
        freshness: Freshness,
    ) -> Result<Resolved, ResolveError> {
        if reference.scheme().is_refreshed() {
            self.follow_configuration(reference.scheme());
        }
        let resolved = self.backends.resolve(reference, freshness).await?;
        if let Some(warning) = &resolved.warning {
            tracing::warn!(%reference, "{warning}");
        }
        Ok(resolved)
    }

    /// A configuration with an error changes nothing; it is refused by name where a sandbox is started.
    fn follow_configuration(&self, scheme: Scheme) {
        if let Err(error) = self.followed(scheme) {
            tracing::warn!("the configuration of {scheme}:// is not followed: {error}");
        }
    }

    fn followed(&self, scheme: Scheme) -> Result<(), Box<dyn std::error::Error>> {
        let config = Config::load(&self.paths)?;
        match scheme {
            Scheme::Vault => self.backends.set_vault(config.vault()?)?,
            Scheme::AwsSm => self.backends.set_aws(config.aws()?),
            Scheme::Exec => self.backends.set_exec(config.exec()?),
            Scheme::Local | Scheme::Env | Scheme::File => {}
        }
        Ok(())
    }

    /// Whether a reference resolves at this moment, and what may be told of its value. Sandboxes that use it get another
    /// value at once.
    pub(crate) async fn test(&self, reference: &SecretRef) -> Result<http::TestedSecret, GatewayError> {
        match reference.scheme() {
            Scheme::Vault => drop(Config::load(&self.paths)?.vault()?),
            Scheme::AwsSm => drop(Config::load(&self.paths)?.aws()?),
            Scheme::Exec => drop(Config::load(&self.paths)?.exec()?),
            Scheme::Local | Scheme::Env | Scheme::File => {}
        }
        let tested = self.one(reference, Freshness::Anew).await;
        // One that does not resolve any more is withheld as well.
        let _ = self.changed.send(reference.clone());
        self.forget_unheld();
        let resolved = tested.map_err(unresolved)?;
        let age = resolved.written.and_then(|at| SystemTime::now().duration_since(at).ok());
        Ok(http::TestedSecret {
            reference: reference.clone(),
            length: resolved.value.len(),
            age_seconds: age.map(|age| age.as_secs()),
            hosts: resolved.hosts,
            refresh_seconds: resolved.lease.map(|lease| lease.refresh.as_secs()),
            valid_seconds: resolved.lease.map(|lease| lease.valid.as_secs()),
            warning: resolved.warning,
        })
    }

    /// A reference's value, or why there is none.
    pub(crate) async fn resolve(&self, reference: &SecretRef) -> Result<Credential, GatewayError> {
        let resolved = self.one(reference, Freshness::Kept).await.map_err(unresolved)?;
        Ok(credential(reference.clone(), resolved))
    }

    /// The same of each of them.
    pub(crate) async fn resolve_all(
        &self,
        references: &[SecretRef],
    ) -> Result<Vec<Credential>, GatewayError> {
        let mut credentials = Vec::new();
        for reference in references {
            credentials.push(self.resolve(reference).await?);
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
        let changed = reference(&name);
        self.with_store(move |store| store.set(&name, &value, &hosts)).await?;
        self.tell_changed(changed);
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

    /// Seals the local store with another key; says how many values it holds.
    pub(crate) async fn change_key(&self, change: http::ChangeKey) -> Result<usize, GatewayError> {
        let to = match change.to {
            http::StoreKey::File => KeySource::File,
            http::StoreKey::Passphrase => KeySource::Passphrase(change.passphrase),
            http::StoreKey::Keyring => KeySource::Keyring(Keyring::of_environment()),
        };
        self.with_store(move |store| store.change_key(to)).await
    }

    /// Removes one.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), GatewayError> {
        let parsed = parse(name)?;
        let (shown, changed) = (parsed.to_string(), reference(&parsed));
        match self.with_store(move |store| store.remove(&parsed)).await? {
            true => {
                self.tell_changed(changed);
                Ok(())
            }
            false => Err(GatewayError::NotFound { what: "secret", name: shown }),
        }
    }

    fn tell_changed(&self, reference: Option<SecretRef>) {
        // Nobody may be listening.
        let _ = reference.map(|reference| self.changed.send(reference));
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

/// A value on its way to a proxy.
pub(crate) fn credential(reference: SecretRef, resolved: Resolved) -> Credential {
    let valid_ms = resolved.lease.map(|lease| u64::try_from(lease.valid.as_millis()).unwrap_or(u64::MAX));
    Credential { reference, value: resolved.value, hosts: resolved.hosts, valid_ms }
}

fn unresolved(error: ResolveError) -> GatewayError {
    GatewayError::Secret { message: error.to_string(), hint: None }
}

fn reference(name: &SecretName) -> Option<SecretRef> {
    format!("local://{name}").parse().ok()
}

fn parse(name: &str) -> Result<SecretName, GatewayError> {
    name.parse()
        .map_err(|error: chiton_credentials::local::BadName| GatewayError::BadRequest(error.to_string()))
}
