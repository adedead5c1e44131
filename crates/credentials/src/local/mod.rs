//! The local store: one file, each value sealed on its own, the whole sealed together.
//!
//! The file is read and written as a whole, under a lock, by renaming. Names, hosts and ages can be read
//! without the key; values cannot, and a change to anything in the file is found whenever the key is at
//! hand. A store that is damaged is never written over.
//!
//! The key is a file, a passphrase, or in the desktop's keyring; the store remembers which.

mod disk;
mod format;
mod key;
mod keyring;
mod names;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chiton_secret::SecretValue;

use crate::{Unusable, usable};
use disk::Disk;
use format::{Document, Entry};
use key::Key;

pub use key::KeySource;
pub use keyring::{Keyring, KeyringError};
pub use names::{BadHost, BadName, HostList, SecretName};

/// Secrets in a folder of mode 0700: `secrets.chiton`, and `secrets.key` where the key is a file.
#[derive(Debug)]
pub struct LocalStore {
    disk: Disk,
    source: Mutex<KeySource>,
    /// Derived once: it takes a tenth of a second and 64 MiB.
    key: Mutex<Option<Key>>,
}

/// What may be told of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: SecretName,
    /// Where it may go.
    pub hosts: HostList,
    /// When it was stored.
    pub created: SystemTime,
    /// The value's length.
    pub length: usize,
}

/// A secret as it was stored.
#[derive(Debug)]
pub struct Stored {
    /// The value.
    pub value: SecretValue,
    /// Where it may go.
    pub hosts: HostList,
    /// When it was stored.
    pub created: SystemTime,
}

/// Why the store cannot be used. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file cannot be read or written.
    #[error("cannot {doing} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read or replace what only the owner may.
    #[error("`{}` is open to others than its owner; run `chmod {mode} {}`", .path.display(), .path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// The mode that it must have.
        mode: &'static str,
    },
    /// The file is not what was written.
    #[error("the secret store `{}` is damaged ({what}); restore it from a backup, or move it away and store the secrets again", .path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A newer chiton wrote it.
    #[error("the secret store `{}` has format {found}, which this version does not read; use a newer chiton", .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The key file is gone, but the store is there.
    #[error("the secret store is there, but its key `{}` is not; restore the key, or move the store away", .0.display())]
    NoKeyFile(PathBuf),
    /// The key file holds no key.
    #[error("`{}` holds no key of a secret store; restore it from a backup", .0.display())]
    BadKeyFile(PathBuf),
    /// The store was made with a passphrase.
    #[error(
        "the secret store is locked by a passphrase; set CHITON_SECRETS_PASSPHRASE (or CHITON_SECRETS_PASSPHRASE_FILE)"
    )]
    Locked,
    /// The store was made with another kind of key.
    #[error(
        "the secret store was made with {made}, and the gateway was started with another; {mend}, and start it again (`chiton gateway stop`), or move the store away"
    )]
    OtherKey {
        /// What it was made with.
        made: &'static str,
        /// How the gateway comes by that.
        mend: &'static str,
    },
    /// There is no such kind of key.
    #[error("CHITON_SECRETS_KEY is `{0}`; expected `file`, `passphrase` or `keyring`")]
    UnknownKey(String),
    /// The environment says two things.
    #[error("CHITON_SECRETS_KEY is `{0}`, but a passphrase is given too; unset one of the two")]
    TwoKeys(&'static str),
    /// The keyring gives no key.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The store was made with another key.
    #[error("the {0} does not open the secret store")]
    WrongKey(&'static str),
    /// There is no store yet.
    #[error("nothing is stored yet, and so there is no key to change")]
    NothingStored,
    /// A passphrase with nothing in it.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The value would never resolve.
    #[error("the value cannot be stored: {0}")]
    Unusable(#[from] Unusable),
    /// The cipher or the random numbers failed.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
    /// The gateway is ending.
    #[error("it was interrupted")]
    Interrupted,
}

impl LocalStore {
    /// A store in this folder, made when the first secret is stored.
    #[must_use]
    pub fn new(folder: &Path, source: KeySource) -> Self {
        Self { disk: Disk::new(folder), source: Mutex::new(source), key: Mutex::new(None) }
    }

    /// What is stored, by name. Needs no key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<SecretInfo>, LocalError> {
        let Some(document) = self.disk.read()? else { return Ok(Vec::new()) };
        Ok(document.secrets.iter().map(Entry::info).collect())
    }

    /// A value and where it may go.
    ///
    /// # Errors
    /// When the store or its key cannot be read, or is damaged.
    pub fn get(&self, name: &SecretName) -> Result<Option<Stored>, LocalError> {
        let Some(document) = self.disk.read()? else { return Ok(None) };
        let key = self.unlock(&document)?;
        let Some(entry) = document.secrets.iter().find(|entry| entry.name == *name) else { return Ok(None) };
        let value = entry.open(&key).ok_or_else(|| self.disk.damaged("a value does not open"))?;
        Ok(Some(Stored { value, hosts: entry.hosts.clone(), created: entry.created() }))
    }

    /// Stores a value, in place of one with the same name; whether there was one.
    ///
    /// # Errors
    /// When the value could never be used, or the store cannot be read, opened or written. It is as before then.
    pub fn set(&self, name: &SecretName, value: &SecretValue, hosts: &HostList) -> Result<bool, LocalError> {
        usable(value)?;
        let _lock = self.disk.lock()?;
        let (mut document, key) = match self.disk.read()? {
            Some(document) => {
                let key = self.unlock(&document)?;
                (document, key)
            }
            None => self.create()?,
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let entry = Entry::seal(&key, name.clone(), hosts.clone(), created, value)?;
        let before = document.secrets.len();
        document.secrets.retain(|entry| entry.name != *name);
        let replaced = document.secrets.len() < before;
        document.secrets.push(entry);
        document.secrets.sort_by(|a, b| a.name.cmp(&b.name));
        self.write(document, &key)?;
        Ok(replaced)
    }

    /// Removes a secret; whether there was one.
    ///
    /// # Errors
    /// When the store cannot be read, opened or written. It is as before then.
    pub fn remove(&self, name: &SecretName) -> Result<bool, LocalError> {
        let _lock = self.disk.lock()?;
        let Some(mut document) = self.disk.read()? else { return Ok(false) };
        let key = self.unlock(&document)?;
        let before = document.secrets.len();
        document.secrets.retain(|entry| entry.name != *name);
        if document.secrets.len() == before {
            return Ok(false);
        }
        self.write(document, &key)?;
        Ok(true)
    }

    /// Seals everything with another key, a new one also where it is of the same kind. Says how many values there were.
    ///
    /// # Errors
    /// When there is nothing, or the store cannot be read, opened or written. It is as before then, and opens with the
    /// key that it had.
    pub fn change_key(&self, to: KeySource) -> Result<usize, LocalError> {
        let _lock = self.disk.lock()?;
        let before = self.disk.read()?.ok_or(LocalError::NothingStored)?;
        let old = self.unlock(&before)?;
        let (key, derivation) = to.make_anew(&self.disk)?;
        let mut after = Document::new(derivation, &key)?;
        for entry in before.secrets {
            let value = entry.open(&old).ok_or_else(|| self.disk.damaged("a value does not open"))?;
            after.secrets.push(Entry::seal(&key, entry.name, entry.hosts, entry.created, &value)?);
        }
        let count = after.secrets.len();
        self.write(after, &key)?;
        let settled = to.settle(&key, &self.disk);
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = to;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        settled.map(|()| count)
    }

    fn source(&self) -> KeySource {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, mut document: Document, key: &Key) -> Result<(), LocalError> {
        document.seal(key)?;
        self.disk.write(&document)
    }

    fn create(&self) -> Result<(Document, Key), LocalError> {
        let (key, derivation) = self.source().make(&self.disk)?;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok((Document::new(derivation, &key)?, key))
    }

    /// The key, once it has proved to open the whole of the document.
    fn unlock(&self, document: &Document) -> Result<Key, LocalError> {
        let mut cached = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match cached.as_ref().filter(|key| document.is_key(key)) {
            Some(key) => key.clone(),
            None => self.source().derive(&document.key, &self.disk, |key| document.is_key(key))?,
        };
        if !document.is_key(&key) {
            return Err(LocalError::WrongKey(self.source().name()));
        }
        if !document.is_whole(&key) {
            return Err(self.disk.damaged("its seal does not hold"));
        }
        *cached = Some(key.clone());
        Ok(key)
    }
}

impl Entry {
    fn created(&self) -> SystemTime {
        // Damaged files can say anything.
        UNIX_EPOCH.checked_add(Duration::from_secs(self.created)).unwrap_or(UNIX_EPOCH)
    }

    fn info(&self) -> SecretInfo {
        SecretInfo {
            name: self.name.clone(),
            hosts: self.hosts.clone(),
            created: self.created(),
            length: self.value_length(),
        }
    }
}

#[cfg(test)]
mod tests;
