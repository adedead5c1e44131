//! One store for every reference, by its scheme.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use chiton_secret::{Scheme, SecretRef, SecretValue};

use crate::{
    AwsError, AwsSecrets, AwsSettings, Commands, Environment, ExecCommand, Fault, Fetched, Files, Freshness,
    Hold, Lease, LocalStore, ResolveError, SecretStore, Vault, VaultError, VaultSettings, aws::Variables,
    kept::KeptValues, usable,
};

/// A value and what goes with it.
#[derive(Debug)]
pub struct Resolved {
    /// The value.
    pub value: SecretValue,
    /// Where it may go, when its owner said so as it was stored.
    pub hosts: Option<Vec<String>>,
    /// When it was written, where that is known.
    pub written: Option<SystemTime>,
    /// How long it holds; none: until something else is said.
    pub lease: Option<Lease>,
    /// Something that the user should know: one line.
    pub warning: Option<String>,
}

impl Resolved {
    pub(crate) fn of(fetched: Fetched, lease: Option<Lease>) -> Self {
        let Fetched { value, hosts, written, lifetime: _, warning } = fetched;
        Self { value, hosts, written, lease, warning }
    }
}

/// The gateway's backends.
pub struct Backends {
    plain: Plain,
    vault: Mutex<Option<Arc<Vault>>>,
    aws: Mutex<Option<Arc<AwsSecrets>>>,
    exec: Mutex<Arc<Commands>>,
    kept: KeptValues,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backends")
    }
}

/// The places on the gateway's own host.
#[derive(Clone)]
pub(crate) struct Plain {
    local: Arc<LocalStore>,
    environment: Environment,
    files: Files,
}

impl Plain {
    pub(crate) fn new(local: Arc<LocalStore>) -> Self {
        Self { local, environment: Environment::default(), files: Files }
    }

    /// Of a reference to one of them; none for those of servers.
    pub(crate) fn store(&self, scheme: Scheme) -> Option<&dyn SecretStore> {
        match scheme {
            Scheme::Local => Some(&self.local),
            Scheme::Env => Some(&self.environment),
            Scheme::File => Some(&self.files),
            Scheme::Vault | Scheme::AwsSm | Scheme::Exec => None,
        }
    }
}

impl Backends {
    /// With this local store, and no server yet.
    #[must_use]
    pub fn new(local: Arc<LocalStore>) -> Self {
        Self {
            plain: Plain::new(local),
            vault: Mutex::default(),
            aws: Mutex::default(),
            exec: Mutex::default(),
            kept: KeptValues::default(),
        }
    }

    /// Says which Vault is asked from now on. What another one gave is forgotten.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn set_vault(&self, settings: Option<VaultSettings>) -> Result<(), VaultError> {
        let mut vault = locked(&self.vault);
        if vault.as_ref().map(|vault| vault.settings()) == settings.as_ref() {
            return Ok(());
        }
        self.kept.clear(Scheme::Vault);
        *vault = None;
        if let Some(settings) = settings {
            *vault = Some(Arc::new(Vault::of(settings, self.plain.clone())?));
        }
        Ok(())
    }

    /// Says how AWS is asked from now on. What it gave to others is forgotten.
    pub fn set_aws(&self, settings: AwsSettings) {
        let mut aws = locked(&self.aws);
        if aws.as_ref().is_none_or(|aws| *aws.settings() != settings) {
            self.kept.clear(Scheme::AwsSm);
            *aws = Some(Arc::new(AwsSecrets::new(settings, Variables::default())));
        }
    }

    /// Says which commands there are from now on. What others wrote is forgotten.
    pub fn set_exec(&self, commands: BTreeMap<String, ExecCommand>) {
        let mut exec = locked(&self.exec);
        if *exec.settings() != commands {
            self.kept.clear(Scheme::Exec);
            *exec = Arc::new(Commands::new(commands));
        }
    }

    /// The value that a reference stands for.
    ///
    /// # Errors
    /// When there is none that can be used. No error holds a value.
    pub async fn resolve(
        &self,
        reference: &SecretRef,
        freshness: Freshness,
    ) -> Result<Resolved, ResolveError> {
        let resolved = match reference.scheme() {
            Scheme::Vault => self.kept.get(reference, freshness, self.ask_vault(reference)).await,
            Scheme::AwsSm => self.kept.get(reference, freshness, self.ask_aws(reference)).await,
            Scheme::Exec => self.kept.get(reference, freshness, self.run(reference)).await,
            Scheme::Local => once(&self.plain.local, reference).await,
            Scheme::Env => once(&self.plain.environment, reference).await,
            Scheme::File => once(&self.plain.files, reference).await,
        };
        resolved.map_err(|fault| ResolveError { reference: reference.clone(), fault })
    }

    /// Keeps the value of a reference, once there is one, until the hold is dropped.
    pub fn hold(&self, reference: &SecretRef) -> Option<Hold> {
        reference.scheme().is_refreshed().then(|| self.kept.hold(reference))
    }

    /// Forgets, and wipes, the values that nobody holds.
    pub fn forget_unheld(&self) {
        self.kept.forget_unheld();
    }

    async fn ask_vault(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let vault = locked(&self.vault).clone();
        ask(&*vault.ok_or(VaultError::NotConfigured)?, reference).await
    }

    async fn ask_aws(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let aws = locked(&self.aws).clone();
        ask(&*aws.ok_or(AwsError::NotConfigured)?, reference).await
    }

    async fn run(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let exec = locked(&self.exec).clone();
        ask(&*exec, reference).await
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn once(store: &dyn SecretStore, reference: &SecretRef) -> Result<Resolved, Fault> {
    ask(store, reference).await.map(|fetched| Resolved::of(fetched, None))
}

/// What a store gives, where it can be used.
pub(crate) async fn ask(store: &dyn SecretStore, reference: &SecretRef) -> Result<Fetched, Fault> {
    let fetched = store.fetch(reference).await?;
    usable(&fetched.value)?;
    Ok(fetched)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::{HostList, KeySource};

    fn backends(dir: &Path) -> Backends {
        Backends::new(Arc::new(LocalStore::new(dir, KeySource::File)))
    }

    async fn resolve(backends: &Backends, reference: &str) -> Result<Resolved, String> {
        let resolved = backends.resolve(&reference.parse().unwrap(), Freshness::Kept).await;
        resolved.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn local_values_come_with_their_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let backends = backends(dir.path());
        let missing = resolve(&backends, "local://openai").await.unwrap_err();
        assert!(missing.contains("chiton secret set openai"), "{missing}");
        let hosts = HostList::new(["api.openai.com"]).unwrap();
        let name = "openai".parse().unwrap();
        let store = &backends.plain.local;
        store.set(&name, &SecretValue::new(b"sk-stored".to_vec()), &hosts).unwrap();
        let got = resolve(&backends, "local://openai").await.unwrap();
        assert_eq!(got.value.dangerous_expose(), b"sk-stored");
        assert_eq!(got.hosts, Some(vec!["api.openai.com".to_owned()]));
    }

    #[tokio::test]
    async fn variables_and_backends_that_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let backends = backends(dir.path());
        assert!(resolve(&backends, "env://PATH").await.is_ok());
        for (reference, said) in [
            ("env://CHITON_NO_SUCH_VARIABLE", "no such variable"),
            ("vault://llm/openai", "`[vault]`"),
            ("aws-sm://openai#key", "before the configuration"),
            ("exec://openai", "`[exec.openai]`"),
        ] {
            let error = resolve(&backends, reference).await.unwrap_err();
            assert!(error.contains(said) && error.contains(reference), "{error}");
        }
    }

    #[tokio::test]
    async fn files_are_trimmed_and_their_mode_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let backends = backends(dir.path());
        let path = dir.path().join("key");
        let reference = format!("file://{}", path.display());
        assert!(resolve(&backends, &reference).await.unwrap_err().contains("No such file"));
        std::fs::write(&path, "sk-from-a-file\n").unwrap();
        for (mode, warned) in [(0o600, false), (0o644, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let got = resolve(&backends, &reference).await.unwrap();
            assert_eq!(got.value.dangerous_expose(), b"sk-from-a-file");
            assert_eq!(got.warning.is_some(), warned);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(resolve(&backends, &reference).await.unwrap_err().contains("chmod go-w"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short\n").unwrap();
        let error = resolve(&backends, &reference).await.unwrap_err();
        assert!(error.contains("5 bytes") && !error.contains("short\n"), "{error}");
        let folder = format!("file://{}", dir.path().display());
        assert!(resolve(&backends, &folder).await.unwrap_err().contains("not a regular file"));
    }
}
