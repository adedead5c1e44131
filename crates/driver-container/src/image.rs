//! What an image says of itself.

use bollard::Docker;
use chiton_driver::{DriverError, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Engine,
    client::{failed, is_missing},
};

/// What of an image a sandbox is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Its digest: what is run, whatever its name stands for later.
    pub(crate) id: String,
    /// Its variables, `K=V`.
    pub(crate) env: Vec<String>,
    /// What a main program is the argument of.
    pub(crate) entrypoint: Vec<String>,
    /// Whose ids the agent has inside; none for root's, and where it does not say.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Where programs start, where the policy gives no workspace.
    pub(crate) directory: Option<String>,
    /// Where engines make folders of a container's own for it.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
}

/// Refuses what is no image's name: the library puts it into the address that it asks the engine for.
///
/// # Errors
/// It holds something that no name and no digest does.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain);
    if good && !name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Ok(());
    }
    Err(DriverError::Unsupported(format!("`{}` is not the name of an image", name.escape_debug())))
}

/// Looks an image up. It is not pulled: whoever names it decides that.
pub(crate) async fn look_up(docker: &Docker, engine: &Engine, name: &str) -> Result<Image> {
    check_name(name)?;
    let driver = engine.name();
    let found = docker.inspect_image(name).await.map_err(|error| {
        if is_missing(&error) {
            return DriverError::Unsupported(format!(
                "the image `{name}` is not on this machine: `{driver} pull {name}` brings it"
            ));
        }
        failed(engine, "look the image up")(error)
    })?;
    let made_for = (found.os.as_deref().unwrap_or("linux"), found.architecture.as_deref().unwrap_or("amd64"));
    if !matches!(made_for, ("linux", "amd64" | "")) {
        return Err(DriverError::Unsupported(format!(
            "the image `{name}` is for {} on {}: sandboxes run images for linux on amd64",
            made_for.0, made_for.1
        )));
    }
    let config = found.config.unwrap_or_default();
    Ok(Image {
        id: found.id.unwrap_or_else(|| name.to_owned()),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        user: config.user.filter(|user| !user.is_empty()),
        directory: config.working_dir.filter(|path| !path.is_empty()),
        volumes: config.volumes.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else_in_the_engine() {
        for name in ["debian", "a/b_c:1.2", "localhost:5000/a-b@sha256:00", "sha256:00ff"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in
            ["", "-x", "/x", "../../containers/json?x", "a/../b", "a//b", "a?b", "a#b", "a%2fb", "a b", "a\n"]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
