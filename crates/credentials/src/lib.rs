//! Where credentials come from.
//!
//! A [`SecretStore`] turns a reference of a policy into the value and the hosts that it may go to.
//! [`Backends`] asks the backend of the reference's scheme: the [`LocalStore`] (encrypted at rest), a variable
//! of the gateway's environment, a file. A backend that is not there yet is refused by name. No error
//! holds a value, and a value that could not be kept out of responses is refused here, before it is used.

mod backends;
pub mod local;
mod value;

pub use backends::{Backends, ResolveError, Resolved, SecretStore};
pub use local::{HostList, KeySource, Keyring, KeyringError, LocalError, LocalStore, SecretInfo, SecretName};
pub use value::{Unusable, trim_line_end, usable};
