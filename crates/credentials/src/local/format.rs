//! The store's file, format 1: a JSON document.
//!
//! `secrets[].sealed` binds the value to its name, its hosts and its age; `seal` binds everything together, so
//! that an entry can be neither changed, nor taken out, nor brought back without the key.

use chiton_secret::SecretValue;
use serde::{Deserialize, Serialize};

use super::{
    HostList, LocalError, SecretName,
    key::{Derivation, Key, plain_length},
};

pub(super) const FORMAT: u64 = 1;
const CHECKED: &[u8] = b"chiton secret store, key check";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) format: u64,
    pub(super) key: Derivation,
    /// Opens with the right key and no other.
    key_check: String,
    pub(super) secrets: Vec<Entry>,
    seal: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: SecretName,
    pub(super) hosts: HostList,
    /// Seconds since 1970.
    pub(super) created: u64,
    sealed: String,
}

/// Read first, so that a newer format is named and not called damaged.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) format: u64,
}

impl Document {
    pub(super) fn new(key: Derivation, cipher: &Key) -> Result<Self, LocalError> {
        let key_check = cipher.seal(CHECKED, b"")?;
        Ok(Self { format: FORMAT, key, key_check, secrets: Vec::new(), seal: String::new() })
    }

    pub(super) fn is_key(&self, key: &Key) -> bool {
        key.open(CHECKED, &self.key_check).is_some()
    }

    pub(super) fn seal(&mut self, key: &Key) -> Result<(), LocalError> {
        self.seal = key.seal(&self.sealed_part()?, b"")?;
        Ok(())
    }

    pub(super) fn is_whole(&self, key: &Key) -> bool {
        self.sealed_part().is_ok_and(|part| key.open(&part, &self.seal).is_some())
    }

    fn sealed_part(&self) -> Result<Vec<u8>, LocalError> {
        bytes(&("chiton secret store", self.format, &self.key, &self.key_check, &self.secrets))
    }
}

impl Entry {
    pub(super) fn seal(
        key: &Key,
        name: SecretName,
        hosts: HostList,
        created: u64,
        value: &SecretValue,
    ) -> Result<Self, LocalError> {
        let sealed = key.seal(&about(&name, &hosts, created)?, value.dangerous_expose())?;
        Ok(Self { name, hosts, created, sealed })
    }

    pub(super) fn open(&self, key: &Key) -> Option<SecretValue> {
        key.open(&about(&self.name, &self.hosts, self.created).ok()?, &self.sealed)
    }

    pub(super) fn value_length(&self) -> usize {
        plain_length(&self.sealed)
    }
}

fn about(name: &SecretName, hosts: &HostList, created: u64) -> Result<Vec<u8>, LocalError> {
    bytes(&("chiton secret", FORMAT, name, hosts, created))
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>, LocalError> {
    serde_json::to_vec(value).map_err(|_| LocalError::Crypto("encode what is sealed"))
}
