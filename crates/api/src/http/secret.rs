//! The local encrypted store. Values go in and never come out.

use chiton_secret::SecretValue;
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

/// A stored secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretInfo {
    /// Its name, as in `local://name`.
    pub name: String,
    /// The hosts that it may go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}
