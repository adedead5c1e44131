//! The places on the gateway's own host: the local store, its environment, files.

use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use chiton_secret::{Scheme, SecretRef, SecretValue};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::{
    Fault, Fetched, FileFault, LocalError, LocalStore, SecretName, SecretStore, local::Stored, trim_line_end,
};

const MOST: u64 = 64 * 1024;
const EVERYONE_WRITES: u32 = 0o002;
const OTHERS: u32 = 0o077;

/// `local://NAME`.
#[async_trait]
impl SecretStore for Arc<LocalStore> {
    fn scheme(&self) -> Scheme {
        Scheme::Local
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let missing = || Fault::NoSecret(reference.locator().to_owned());
        let name = SecretName::of(reference).ok_or_else(missing)?;
        let store = Self::clone(self);
        // Reads files, and may derive a key for a tenth of a second.
        let got = spawn_blocking(move || store.get(&name)).await.map_err(|_| LocalError::Interrupted)??;
        let Stored { value, hosts, created } = got.ok_or_else(missing)?;
        let hosts = hosts.into_option();
        Ok(Fetched { value, hosts, written: Some(created), lifetime: None, warning: None })
    }
}

/// `env://NAME`: the environment of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    get: fn(&str) -> Option<OsString>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { get: |name| std::env::var_os(name) }
    }
}

impl Environment {
    /// Another environment.
    #[cfg(test)]
    pub(crate) const fn of(get: fn(&str) -> Option<OsString>) -> Self {
        Self { get }
    }
}

#[async_trait]
impl SecretStore for Environment {
    fn scheme(&self) -> Scheme {
        Scheme::Env
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let value = (self.get)(reference.locator()).ok_or(Fault::NoVariable)?;
        let value = SecretValue::new(value.into_vec());
        Ok(Fetched { value, hosts: None, written: None, lifetime: None, warning: None })
    }
}

/// `file:///path`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

#[async_trait]
impl SecretStore for Files {
    fn scheme(&self) -> Scheme {
        Scheme::File
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let path = Path::new(reference.locator()).to_owned();
        let asked = path.clone();
        let read = spawn_blocking(move || read(&asked)).await;
        let Read { value, mode, written } =
            read.map_err(|error| FileFault::Io(std::io::Error::other(error)))??;
        let warning = (mode & OTHERS != 0).then(|| {
            format!("`{reference}` can be read by others than its owner; run `chmod 600 {}`", path.display())
        });
        Ok(Fetched { value: trim_line_end(value), hosts: None, written, lifetime: None, warning })
    }
}

struct Read {
    value: SecretValue,
    mode: u32,
    written: Option<SystemTime>,
}

fn read(path: &Path) -> Result<Read, FileFault> {
    // Asked before opening, which on a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(FileFault::NotAFile);
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    let mode = about.mode();
    if mode & EVERYONE_WRITES != 0 {
        return Err(FileFault::Writable(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MOST).read_to_end(&mut bytes)?;
    let written = about.modified().ok();
    Ok(Read { value: SecretValue::new(std::mem::take(&mut *bytes)), mode, written })
}
