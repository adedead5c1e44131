//! Where credentials come from.
//!
//! A [`SecretStore`] turns a reference of a policy into a value and the hosts that it may go to: the [`LocalStore`]
//! (encrypted at rest), a variable of the gateway's [`Environment`], [`Files`], a [`Vault`]. All of them pass one
//! conformance suite. [`Backends`] asks the one of the reference's scheme, and keeps what a server gave for as long as
//! it holds. A backend that is not there yet is refused by name. No error holds a value, and a value that could not be
//! kept out of responses is refused here, before it is used.

mod address;
mod backends;
mod client;
#[cfg(test)]
mod conformance;
mod json;
mod kept;
pub mod local;
mod plain;
mod store;
mod value;
pub mod vault;

pub use address::{AddressError, ServerAddress};
pub use backends::{Backends, Resolved};
pub use client::{Reach, ServerRoots};
pub use kept::{Freshness, Hold, Lease};
pub use local::{HostList, KeySource, Keyring, KeyringError, LocalError, LocalStore, SecretInfo, SecretName};
pub use plain::{Environment, Files};
pub use store::{Fault, Fetched, FileFault, Lifetime, ResolveError, SecretStore};
pub use value::{Unusable, trim_line_end, usable};
pub use vault::{Vault, VaultError, VaultSettings};
