//! What the operator says of a Vault.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use chiton_secret::SecretRef;

use super::VaultAddress;
use crate::ServerRoots;

/// `[vault]` of `config.toml`, checked and with its files read.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultSettings {
    /// Where it is.
    pub address: VaultAddress,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How to log in.
    pub login: Login,
    /// What its certificate is verified by.
    pub roots: ServerRoots,
    /// `[upstream.resolve]`: `host:port` → address.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// Mounts whose version is told: it is not asked for.
    pub mounts: BTreeMap<String, KvVersion>,
    /// A value is asked for again after this time.
    pub refresh: Duration,
    /// So long the last value is used where Vault does not give it again, unless its lease is shorter.
    pub keep: Duration,
    /// So long an answer is waited for, from the first packet to the last.
    pub timeout: Duration,
}

/// How to log in. The means are references to places on the gateway's own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token that is there.
    Token(SecretRef),
    /// `auth/approle`.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// Whose.
        role_id: String,
        /// The secret id.
        secret_id: SecretRef,
    },
    /// `auth/kubernetes`.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// Whose.
        role: String,
        /// The service account's token.
        jwt: SecretRef,
    },
}

/// The versions of the KV secrets engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Values alone.
    V1,
    /// Values with their history.
    V2,
}
