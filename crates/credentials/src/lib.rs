//! Where credentials come from.
//!
//! A [`SecretStore`] turns a reference of a policy into a value and the hosts that it may go to: the [`LocalStore`]
//! (encrypted at rest), a variable of the gateway's [`Environment`], [`Files`], a [`Vault`], [`AwsSecrets`], the operator's
//! [`Commands`]. All of them pass one conformance suite. [`Backends`] asks the one of the reference's scheme, and keeps what a server gave for as long as
//! it holds. No error holds a value, and a value that could not be
//! kept out of responses is refused here, before it is used.

mod address;
pub mod aws;
mod backends;
mod client;

#[cfg(test)]
mod conformance;
pub mod exec;
mod json;
mod kept;
pub mod local;
mod plain;
mod store;
mod value;
pub mod vault;

pub use address::{AddressError, ServerAddress};
pub use aws::{AwsError, AwsSecrets, AwsSettings};
pub use backends::{Backends, Resolved};
pub use client::{AskError, Reach, ServerRoots};
pub use exec::{Commands, ExecCommand, ExecError};
pub use kept::{Freshness, Hold, Lease};
pub use local::{HostList, KeySource, Keyring, KeyringError, LocalError, LocalStore, SecretInfo, SecretName};
pub use plain::{Environment, Files};
pub use store::{Fault, Fetched, FileFault, Lifetime, ResolveError, SecretStore};
pub use value::{Unusable, trim_line_end, usable};
pub use vault::{Vault, VaultError, VaultSettings};
