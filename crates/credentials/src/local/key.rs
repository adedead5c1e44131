//! The key that seals the store, and where it comes from.

use std::{ffi::OsString, fmt, os::unix::ffi::OsStringExt as _, path::PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chiton_secret::SecretValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{LocalError, disk::Disk, keyring::Keyring};

pub(super) const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;
const FILE_PREFIX: &str = "chiton-key-1:";

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// `secrets.key` beside the store: mode 0600, made with the first secret.
    File,
    /// Derived from a passphrase by Argon2id.
    Passphrase(SecretValue),
    /// In the desktop's keyring, made with the first secret.
    Keyring(Keyring),
}

/// How the key of a store is come by: the head of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Derivation {
    File,
    /// Under this name in the keyring.
    Keyring {
        name: String,
    },
    Argon2id {
        salt: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
}

/// RFC 9106's second recommendation: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a file may ask for at most: a damaged one must not take the machine's memory.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 64;

impl KeySource {
    /// What the environment's `CHITON_SECRETS_KEY` says: `file`, `passphrase` or `keyring`. Where it says
    /// nothing: a passphrase when there is one (`CHITON_SECRETS_PASSPHRASE`, or the file, such as `/dev/fd/3`,
    /// that `CHITON_SECRETS_PASSPHRASE_FILE` names), else the key file.
    ///
    /// # Errors
    /// When it says something else, or two things, or the passphrase's file cannot be read.
    pub fn from_environment() -> Result<Self, LocalError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    pub(super) fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, LocalError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let chosen = get("CHITON_SECRETS_KEY").map(|chosen| chosen.to_string_lossy().into_owned());
        match (chosen.as_deref(), passphrase(get)?) {
            (None | Some("file"), None) => Ok(Self::File),
            (None | Some("passphrase"), Some(passphrase)) => Ok(Self::Passphrase(passphrase)),
            (Some("passphrase"), None) => Err(LocalError::EmptyPassphrase),
            (Some("keyring"), None) => Ok(Self::Keyring(Keyring::new(get))),
            (Some("file"), Some(_)) => Err(LocalError::TwoKeys("file")),
            (Some("keyring"), Some(_)) => Err(LocalError::TwoKeys("keyring")),
            (Some(other), _) => Err(LocalError::UnknownKey(other.to_owned())),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::File => "key file",
            Self::Passphrase(_) => "passphrase",
            Self::Keyring(_) => "key of the keyring",
        }
    }

    /// A key for a new store.
    pub(super) fn make(&self, disk: &Disk) -> Result<(Key, Derivation), LocalError> {
        match self {
            Self::File => match disk.read_key()? {
                Some(_) => Ok((file_keys(disk)?.swap_remove(0), Derivation::File)),
                None => {
                    let key = random_key()?;
                    disk.write_key(&line(&key))?;
                    Ok((key, Derivation::File))
                }
            },
            Self::Keyring(keyring) => {
                let (key, name) = keyring.make()?;
                Ok((Key(key), Derivation::Keyring { name }))
            }
            Self::Passphrase(_) => {
                let mut salt = [0; 16];
                rand::fill(&mut salt).map_err(|_| LocalError::Crypto("make random numbers"))?;
                let derivation = Derivation::Argon2id {
                    salt: STANDARD.encode(salt),
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    lanes: LANES,
                };
                Ok((self.derive(&derivation, disk, |_| true)?, derivation))
            }
        }
    }

    /// Another key for a store that has one. Where it is a file, that holds both until [`settle`] says otherwise: a store
    /// opens with one of the two at every moment.
    pub(super) fn make_anew(&self, disk: &Disk) -> Result<(Key, Derivation), LocalError> {
        match self {
            Self::File => {
                let key = random_key()?;
                let before = disk.read_key()?;
                let before = before.as_ref().map_or("", |text| text.as_str());
                disk.write_key(&Zeroizing::new(format!("{before}{}", *line(&key))))?;
                Ok((key, Derivation::File))
            }
            Self::Passphrase(passphrase) if passphrase.is_empty() => Err(LocalError::EmptyPassphrase),
            Self::Passphrase(_) | Self::Keyring(_) => self.make(disk),
        }
    }

    /// The store has this key now, and its old one is not needed any more.
    pub(super) fn settle(&self, key: &Key, disk: &Disk) -> Result<(), LocalError> {
        match self {
            Self::File => disk.write_key(&line(key)),
            Self::Passphrase(_) | Self::Keyring(_) => disk.remove_key(),
        }
    }

    /// The key of a store that is there. The store says what it was made with, and gets no other; where several could be
    /// meant, the one that fits.
    pub(super) fn derive(
        &self,
        derivation: &Derivation,
        disk: &Disk,
        fits: impl Fn(&Key) -> bool,
    ) -> Result<Key, LocalError> {
        match (derivation, self) {
            (Derivation::File, Self::File) => {
                let mut keys = file_keys(disk)?;
                let at = keys.iter().position(fits).unwrap_or_default();
                Ok(keys.swap_remove(at))
            }
            (Derivation::Keyring { name }, Self::Keyring(keyring)) => {
                // It becomes an argument of a program.
                if !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(disk.damaged("the name of its key"));
                }
                Ok(Key(keyring.read(name)?))
            }
            (Derivation::Argon2id { salt, memory_kib, passes, lanes }, Self::Passphrase(passphrase)) => {
                if *memory_kib > MOST_MEMORY_KIB || *passes > MOST_PASSES {
                    return Err(disk.damaged("its key needs more memory or time than any version asks for"));
                }
                let salt = STANDARD.decode(salt).map_err(|_| disk.damaged("the key's salt"))?;
                let params = Params::new(*memory_kib, *passes, *lanes, Some(KEY_LENGTH));
                stretch(passphrase, &salt, params, disk)
            }
            (Derivation::Argon2id { .. }, Self::File) => Err(LocalError::Locked),
            (Derivation::Argon2id { .. }, Self::Keyring(_)) => Err(LocalError::OtherKey {
                made: "a passphrase",
                mend: "unset CHITON_SECRETS_KEY and set CHITON_SECRETS_PASSPHRASE",
            }),
            (Derivation::File, Self::Passphrase(_) | Self::Keyring(_)) => Err(LocalError::OtherKey {
                made: "a key file",
                mend: "unset CHITON_SECRETS_KEY and CHITON_SECRETS_PASSPHRASE",
            }),
            (Derivation::Keyring { .. }, Self::File | Self::Passphrase(_)) => Err(LocalError::OtherKey {
                made: "a key in the keyring",
                mend: "set CHITON_SECRETS_KEY=keyring and no passphrase",
            }),
        }
    }
}

fn passphrase(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<SecretValue>, LocalError> {
    if let Some(passphrase) = get("CHITON_SECRETS_PASSPHRASE") {
        return Ok(Some(SecretValue::new(passphrase.into_vec())));
    }
    let Some(path) = get("CHITON_SECRETS_PASSPHRASE_FILE").map(PathBuf::from) else { return Ok(None) };
    let read = std::fs::read(&path);
    let value = read.map_err(|source| LocalError::Io { doing: "read the passphrase from", path, source })?;
    Ok(Some(crate::trim_line_end(SecretValue::new(value))))
}

fn stretch(
    passphrase: &SecretValue,
    salt: &[u8],
    params: argon2::Result<Params>,
    disk: &Disk,
) -> Result<Key, LocalError> {
    if passphrase.is_empty() {
        return Err(LocalError::EmptyPassphrase);
    }
    let bad = |_| disk.damaged("the head of the key");
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(bad)?);
    argon.hash_password_into(passphrase.dangerous_expose(), salt, &mut *key).map_err(bad)?;
    Ok(Key(key))
}

fn random_key() -> Result<Key, LocalError> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    rand::fill(&mut *key).map_err(|_| LocalError::Crypto("make random numbers"))?;
    Ok(Key(key))
}

/// A line of the key file.
fn line(key: &Key) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(*key.0));
    Zeroizing::new(format!("{FILE_PREFIX}{}\n", *encoded))
}

/// One key, or two where a change of the key did not come to its end; never none.
fn file_keys(disk: &Disk) -> Result<Vec<Key>, LocalError> {
    let text = disk.read_key()?.ok_or_else(|| LocalError::NoKeyFile(disk.key_path()))?;
    let bad = || LocalError::BadKeyFile(disk.key_path());
    let mut keys = Vec::new();
    for line in text.lines() {
        let encoded = line.strip_prefix(FILE_PREFIX).ok_or_else(bad)?.trim_end();
        let decoded = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| bad())?);
        let key: [u8; KEY_LENGTH] = decoded.as_slice().try_into().map_err(|_| bad())?;
        keys.push(Key(Zeroizing::new(key)));
    }
    if keys.is_empty() { Err(bad()) } else { Ok(keys) }
}

/// Seals and opens with AES-256-GCM, a random nonce each time.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; KEY_LENGTH]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.0).ok()
    }

    /// Nonce, ciphertext and tag, in base64; bound to what it is about.
    pub(super) fn seal(&self, about: &[u8], plain: &[u8]) -> Result<String, LocalError> {
        const FAILED: LocalError = LocalError::Crypto("encrypt");
        let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_LENGTH));
        buffer.extend_from_slice(plain);
        let cipher = self.cipher().ok_or(FAILED)?;
        let nonce = cipher.seal_in_place_append_tag(Aad::from(about), &mut *buffer).map_err(|_| FAILED)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&buffer);
        Ok(STANDARD.encode(sealed))
    }

    pub(super) fn open(&self, about: &[u8], sealed: &str) -> Option<SecretValue> {
        let mut buffer = Zeroizing::new(STANDARD.decode(sealed).ok()?);
        let (nonce, text) = buffer.split_at_mut_checked(NONCE_LENGTH)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(about), text).ok()?;
        Some(SecretValue::new(plain.to_vec()))
    }
}

/// The plain length of what was sealed.
pub(super) fn plain_length(sealed: &str) -> usize {
    let padding = sealed.bytes().rev().take_while(|byte| *byte == b'=').count();
    (sealed.len() / 4 * 3).saturating_sub(padding + NONCE_LENGTH + TAG_LENGTH)
}
