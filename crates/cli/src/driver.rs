//! `--driver`, as it is written.

use chiton_api::name::{DriverName, NameError};

use crate::error::CliError;

/// The driver of this name. Those that are planned are known, and refused by name.
pub(crate) fn parse_driver(name: &str) -> Result<DriverName, CliError> {
    let driver = name.parse().map_err(|error: NameError| CliError::new(error.to_string()))?;
    match driver {
        DriverName::Native | DriverName::Docker | DriverName::Podman => Ok(driver),
        DriverName::Microvm | DriverName::Kubernetes => {
            Err(CliError::new(format!("`--driver {name}`: not supported yet"))
                .hint("--driver native, docker or podman"))
        }
    }
}
