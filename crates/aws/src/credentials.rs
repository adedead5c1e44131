//! What Amazon knows a caller by.

use std::time::SystemTime;

use chiton_secret::SecretValue;

/// An access key, and the token that goes with one that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name, which every request shows.
    pub access_key_id: String,
    /// Its key, which signs and is never sent.
    pub secret_access_key: SecretValue,
    /// What is sent beside a key that ends.
    pub session_token: Option<SecretValue>,
    /// When it ends.
    pub expires: Option<SystemTime>,
}
