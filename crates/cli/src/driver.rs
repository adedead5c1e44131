//! `--driver`, as it is written.

use chiton_api::{
    http::Examination,
    name::{DriverName, NameError},
};
use serde_json::json;

use crate::{client::Client, error::CliError, output::note};

/// The strongest driver that works here, for `auto`: without an image the native one; with an image Podman, which needs
/// no root, before Docker. Says which, and why.
pub(crate) fn strongest(client: &Client, image: Option<&str>) -> Result<DriverName, CliError> {
    if image.is_none() {
        note("driver native: no image is named");
        return Ok(DriverName::Native);
    }
    let mut missing = Vec::new();
    for driver in [DriverName::Podman, DriverName::Docker] {
        match lacks(&examine(client, driver)?) {
            None => {
                note(format!("driver {driver}: every layer works in its containers"));
                return Ok(driver);
            }
            Some(lacks) => missing.push(format!("{driver}: {lacks}")),
        }
    }
    Err(CliError::new(format!("no driver with images works here: {}", missing.join("; ")))
        .hint("chiton doctor --driver podman"))
}

/// Tries every layer where a driver's sandboxes run.
pub(crate) fn examine(client: &Client, driver: DriverName) -> Result<Examination, CliError> {
    client.send("POST", &format!("/v1/drivers/{driver}/examine"), &json!({}))
}

/// What keeps a sandbox from starting, if anything does.
fn lacks(found: &Examination) -> Option<String> {
    let missing = found.checks.iter().find(|check| check.required && !check.works)?;
    Some(format!("{}: {}", missing.layer, missing.found))
}

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
