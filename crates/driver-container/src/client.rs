//! Asking the engine.

use std::path::Path;

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};
use chiton_driver::{DriverError, Result};

use crate::Engine;

/// Seconds that one answer may take: a container is made within these, also on a busy machine.
const PATIENCE: u64 = 60;

/// A connection to the engine, at the version of the API that both speak.
pub(crate) async fn connect(engine: &Engine) -> Result<Docker> {
    let name = engine.name();
    let mut tried = Vec::new();
    for socket in &engine.sockets {
        match try_connect(socket).await {
            Ok(docker) => return Ok(docker),
            Err(error) => tried.push(format!("{}: {}", socket.display(), plain(&error))),
        }
    }
    let tried = if tried.is_empty() { "no socket is known".to_owned() } else { tried.join("; ") };
    Err(DriverError::Unsupported(format!(
        "the driver `{name}` cannot reach its engine ({tried}): start it (`{}`), or name its socket with `{}` in \
         config.toml",
        engine.mend(),
        engine.setting()
    )))
}

async fn try_connect(socket: &Path) -> std::result::Result<Docker, Error> {
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&path, PATIENCE, API_DEFAULT_VERSION)?;
    docker.negotiate_version().await
}

/// What the engine said, as an error of the driver.
pub(crate) fn failed<'a>(engine: &'a Engine, doing: &'a str) -> impl FnOnce(Error) -> DriverError + 'a {
    move |error| DriverError::Unsupported(format!("{} cannot {doing}: {}", engine.name(), plain(&error)))
}

/// Whether there is no such thing.
pub(crate) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether it is being done already.
pub(crate) fn is_in_progress(error: &Error) -> bool {
    status(error) == Some(409)
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// One line, without the library's own words around it.
pub(crate) fn plain(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::SocketNotFoundError(_) => "there is no such socket".to_owned(),
        error => source(error).to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The error that all began with.
fn source(error: &Error) -> &dyn std::error::Error {
    let mut at: &dyn std::error::Error = error;
    while let Some(below) = at.source() {
        at = below;
    }
    at
}
