//! One store for every reference, by its scheme.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use chiton_secret::{Scheme, SecretRef, SecretValue};
use zeroize::Zeroizing;

use crate::{LocalError, LocalStore, SecretName, Unusable, trim_line_end, usable};

/// Something that knows values.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The value that a reference stands for.
    ///
    /// # Errors
    /// When there is none that can be used. No error holds a value.
    async fn resolve(&self, reference: &SecretRef) -> Result<Resolved, ResolveError>;
}

/// A value and what goes with it.
#[derive(Debug)]
pub struct Resolved {
    /// The value.
    pub value: SecretValue,
    /// Where it may go, when its owner said so as it was stored.
    pub hosts: Option<Vec<String>>,
    /// Something that the user should know: one line.
    pub warning: Option<String>,
}

/// Why a reference cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// This kind of reference is for later.
    #[error(
        "`{reference}` cannot be resolved: {backend} is not supported yet; use local://, env:// or file://"
    )]
    Unsupported {
        /// As the policy writes it.
        reference: SecretRef,
        /// The backend's name.
        backend: &'static str,
    },
    /// There is no secret of that name in the local store.
    #[error("`{0}` cannot be resolved: there is no such secret; store it with `chiton secret set {name}`", name = .0.locator())]
    NoSecret(SecretRef),
    /// The local store cannot be used.
    #[error("`{reference}` cannot be resolved: {source}")]
    Local {
        /// As the policy writes it.
        reference: SecretRef,
        /// Why.
        #[source]
        source: LocalError,
    },
    /// The variable is not there.
    #[error(
        "`{0}` cannot be resolved: the gateway's environment has no such variable; set it and start the gateway again (`chiton gateway stop`)"
    )]
    NoVariable(SecretRef),
    /// The file cannot be read.
    #[error("`{reference}` cannot be resolved: {why}")]
    File {
        /// As the policy writes it.
        reference: SecretRef,
        /// Why.
        why: FileFault,
    },
    /// There is a value, but it cannot be used.
    #[error("the value of `{reference}` cannot be used: {source}")]
    Unusable {
        /// As the policy writes it.
        reference: SecretRef,
        /// Why.
        #[source]
        source: Unusable,
    },
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

/// The gateway's backends.
#[derive(Debug)]
pub struct Backends {
    local: Arc<LocalStore>,
}

impl Backends {
    /// With this local store.
    #[must_use]
    pub fn new(local: Arc<LocalStore>) -> Self {
        Self { local }
    }

    async fn local(&self, reference: &SecretRef) -> Result<Resolved, ResolveError> {
        let failed = |source| ResolveError::Local { reference: reference.clone(), source };
        let name = SecretName::of(reference).ok_or_else(|| ResolveError::NoSecret(reference.clone()))?;
        let store = Arc::clone(&self.local);
        // Reads files, and may derive a key for a tenth of a second.
        let got = tokio::task::spawn_blocking(move || store.get(&name)).await;
        let got = got.map_err(|_| failed(LocalError::Interrupted))?.map_err(failed)?;
        let (value, hosts) = got.ok_or_else(|| ResolveError::NoSecret(reference.clone()))?;
        Ok(Resolved { value, hosts: hosts.into_option(), warning: None })
    }
}

#[async_trait]
impl SecretStore for Backends {
    async fn resolve(&self, reference: &SecretRef) -> Result<Resolved, ResolveError> {
        let unsupported = |backend| ResolveError::Unsupported { reference: reference.clone(), backend };
        let resolved = match reference.scheme() {
            Scheme::Local => self.local(reference).await?,
            Scheme::Env => variable(reference)?,
            Scheme::File => {
                let reference = reference.clone();
                let failed = reference.clone();
                let read = tokio::task::spawn_blocking(move || file(&reference)).await;
                let gone = |error: tokio::task::JoinError| FileFault::Io(std::io::Error::other(error));
                read.map_err(|error| ResolveError::File { reference: failed, why: gone(error) })??
            }
            Scheme::Vault => return Err(unsupported("HashiCorp Vault")),
            Scheme::AwsSm => return Err(unsupported("AWS Secrets Manager")),
        };
        match usable(&resolved.value) {
            Ok(()) => Ok(resolved),
            Err(source) => Err(ResolveError::Unusable { reference: reference.clone(), source }),
        }
    }
}

fn variable(reference: &SecretRef) -> Result<Resolved, ResolveError> {
    let value = std::env::var_os(reference.locator());
    let value = value.ok_or_else(|| ResolveError::NoVariable(reference.clone()))?;
    let value = SecretValue::new(std::os::unix::ffi::OsStringExt::into_vec(value));
    Ok(Resolved { value, hosts: None, warning: None })
}

fn file(reference: &SecretRef) -> Result<Resolved, ResolveError> {
    let path = Path::new(reference.locator());
    let (value, mode) = read(path).map_err(|why| ResolveError::File { reference: reference.clone(), why })?;
    let warning = (mode & 0o077 != 0).then(|| {
        format!("`{reference}` can be read by others than its owner; run `chmod 600 {}`", path.display())
    });
    Ok(Resolved { value: trim_line_end(value), hosts: None, warning })
}

const MOST: u64 = 64 * 1024;
const EVERYONE_WRITES: u32 = 0o002;

fn read(path: &Path) -> Result<(SecretValue, u32), FileFault> {
    // Asked before opening, which on a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileFault::NotAFile);
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    if mode & EVERYONE_WRITES != 0 {
        return Err(FileFault::Writable(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok((SecretValue::new(std::mem::take(&mut *bytes)), mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{HostList, KeySource};

    fn backends(dir: &Path) -> Backends {
        Backends::new(Arc::new(LocalStore::new(dir, KeySource::File)))
    }

    async fn resolve(backends: &Backends, reference: &str) -> Result<Resolved, String> {
        backends.resolve(&reference.parse().unwrap()).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn local_values_come_with_their_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let backends = backends(dir.path());
        let missing = resolve(&backends, "local://openai").await.unwrap_err();
        assert!(missing.contains("chiton secret set openai"), "{missing}");
        let hosts = HostList::new(["api.openai.com"]).unwrap();
        let name = "openai".parse().unwrap();
        backends.local.set(&name, &SecretValue::new(b"sk-stored".to_vec()), &hosts).unwrap();
        let got = resolve(&backends, "local://openai").await.unwrap();
        assert_eq!(got.value.dangerous_expose(), b"sk-stored");
        assert_eq!(got.hosts, Some(vec!["api.openai.com".to_owned()]));
    }

    #[tokio::test]
    async fn variables_and_backends_that_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let backends = backends(dir.path());
        assert!(resolve(&backends, "env://PATH").await.is_ok());
        assert!(
            resolve(&backends, "env://CHITON_NO_SUCH_VARIABLE")
                .await
                .unwrap_err()
                .contains("no such variable")
        );
        for (reference, name) in [("vault://llm/openai", "Vault"), ("aws-sm://openai#key", "AWS")] {
            let error = resolve(&backends, reference).await.unwrap_err();
            assert!(
                error.contains(name) && error.contains("not supported yet") && error.contains(reference),
                "{error}"
            );
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
