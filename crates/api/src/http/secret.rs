//! The local encrypted store, and what may be told of any reference. Values go in and never come out.

use chiton_secret::{SecretRef, SecretValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `PUT /v1/secrets/{name}`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// The value's bytes.
    #[serde(with = "chiton_secret::dangerous_wire")]
    #[schema(value_type = Vec<u8>)]
    pub value: SecretValue,
    /// The hosts that it may go to; without them a policy alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// What the key of the local store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKey {
    /// A file beside the store.
    File,
    /// Derived from a passphrase.
    Passphrase,
    /// In the desktop's keyring.
    Keyring,
}

/// `POST /v1/store-key`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeKey {
    /// What it is from now on.
    pub to: StoreKey,
    /// The passphrase's bytes, where it is one; else none.
    #[serde(with = "chiton_secret::dangerous_wire")]
    #[schema(value_type = Vec<u8>)]
    pub passphrase: SecretValue,
}

/// A key that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedKey {
    /// So many values are sealed with it.
    pub secrets: usize,
}

/// `POST /v1/resolve`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestSecret {
    /// The reference, as a policy writes it.
    pub reference: String,
}

/// What may be told of a reference that resolves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestedSecret {
    /// The reference.
    #[schema(value_type = String)]
    pub reference: SecretRef,
    /// The value's length in bytes.
    pub length: usize,
    /// How old the value is, where its store knows.
    pub age_seconds: Option<u64>,
    /// The hosts that it may go to, where its owner said so.
    pub hosts: Option<Vec<String>>,
    /// When its server is asked again, where a sandbox uses it.
    pub refresh_seconds: Option<u64>,
    /// How long it is used where the server does not give it again.
    pub valid_seconds: Option<u64>,
    /// One line that its user should know.
    pub warning: Option<String>,
}

/// A stored secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretInfo {
    /// Its name, as in `local://name`.
    pub name: String,
    /// The hosts that it may go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}
