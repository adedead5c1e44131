//! Which GPUs a sandbox gets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `static.gpu`, of devices of the Container Device Interface whose class is `gpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpu {
    /// None.
    #[default]
    None,
    /// All that this machine has.
    All,
    /// So many of them.
    Count(u32),
    /// These, by their full names.
    Named(Vec<String>),
}

impl Gpu {
    /// Whether none is asked for.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// As in `static.gpu: 2`.
impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gpu::None => f.write_str("none"),
            Gpu::All => f.write_str("all"),
            Gpu::Count(count) => count.fmt(f),
            Gpu::Named(names) => f.write_str(&names.join(", ")),
        }
    }
}
