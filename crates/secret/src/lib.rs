//! Secret values that cannot be printed, and the references that name them.
//!
//! A [`SecretValue`] is wiped when dropped, has no `Display`, and its `Debug` shows the length only.
//! The one way to its bytes is [`SecretValue::dangerous_expose`], so that a review can grep for it.
//! A [`SecretRef`] is what a policy holds: a URL that names a value, never the value.

mod reference;
mod value;

pub use reference::{RefError, Scheme, SecretRef};
pub use value::{SecretValue, dangerous_wire};
