//! Bringing an image: from its registry, with what the user's own engine configuration says of that registry.
//!
//! Docker's `config.json` (`auths`, `credsStore`, `credHelpers`, docs.docker.com/reference/cli/docker/login) and
//! Podman's `auth.json` (containers-auth.json(5)).

use std::{env, fs, io, path::PathBuf, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::{
    auth::DockerCredentials, models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder,
};
use chiton_driver::{DriverError, PullStep, Result};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    sync::mpsc,
};

use crate::{
    Engine,
    client::{Known, failed, is_missing},
    image,
};

/// How Docker calls its own registry in its configuration.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// What a helper says is no longer.
const LONGEST: u64 = 1 << 20;
/// How long a helper may take: it may ask its user for a key.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a helper calls a token that is not a password.
const TOKEN: &str = "<token>";

/// What the configuration says of registries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    auths: serde_json::Map<String, Value>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: serde_json::Map<String, Value>,
}

/// What a helper answers to `get`.
#[derive(Deserialize)]
struct Helped {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Brings an image where it is not on this machine, and tells how far it is.
pub(crate) async fn pull(
    known: &Known,
    engine: &Engine,
    image: &str,
    told: &mpsc::Sender<PullStep>,
) -> Result<()> {
    image::check_name(image)?;
    match known.docker.inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(failed(engine, "look the image up")(error)),
    }
    let credentials = credentials(engine, registry_of(image)).await?;
    if credentials.as_ref().is_some_and(|found| !can_be_told(found)) {
        let name = engine.name();
        return Err(DriverError::Unsupported(format!(
            "the password for `{}` cannot be passed on to {name} (its library encodes some characters wrongly): \
             `{name} pull {image}` brings the image",
            registry_of(image)
        )));
    }
    // Without a tag the engine would bring them all.
    let whole = if has_tag(image) { image.to_owned() } else { format!("{image}:latest") };
    let options = CreateImageOptionsBuilder::default().from_image(&whole).build();
    let mut steps = std::pin::pin!(known.docker.create_image(Some(options), None, credentials));
    while let Some(step) = steps.next().await {
        let step = step.map_err(failed(engine, "pull the image"))?;
        if let Some(message) = step.error_detail.as_ref().and_then(|error| error.message.as_ref()) {
            let text = format!("{} cannot pull the image: {message}", engine.name());
            return Err(DriverError::Unsupported(text));
        }
        // Nobody listens any more: whoever asked is gone, and the rest is the engine's.
        if told.send(as_step(step)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Engines decode their header as base64url, and `bollard` 0.21 encodes it as base64: a text in which these differ is
/// silently taken for none.
fn can_be_told(credentials: &DockerCredentials) -> bool {
    serde_json::to_vec(credentials).is_ok_and(|text| !STANDARD.encode(text).contains(['+', '/']))
}

fn as_step(told: CreateImageInfo) -> PullStep {
    let detail = told.progress_detail.unwrap_or_default();
    let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    PullStep {
        layer: told.id,
        status: told.status.unwrap_or_default(),
        done: bytes(detail.current),
        total: bytes(detail.total).filter(|total| *total > 0),
    }
}

/// The registry in an image's name: its first part, where that can be a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

fn has_tag(image: &str) -> bool {
    image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// What the user's configuration has for a registry; none is asked without.
async fn credentials(engine: &Engine, registry: &str) -> Result<Option<DockerCredentials>> {
    for path in engine.configurations() {
        let unusable = |error: &dyn std::fmt::Display| {
            DriverError::Unsupported(format!("`{}` cannot be read: {error}: mend it", path.display()))
        };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| unusable(&error))?,
        };
        let configuration: Configuration =
            serde_json::from_slice(&text).map_err(|_| unusable(&"it is not JSON"))?;
        if let Some(found) = configuration.credentials(registry).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl Configuration {
    async fn credentials(&self, registry: &str) -> Result<Option<DockerCredentials>> {
        let keys = keys(registry);
        let helper = keys.iter().find_map(|key| self.helpers.get(key)?.as_str());
        if let Some(helper) = helper.or(self.store.as_deref()) {
            for key in &keys {
                if let Some(found) = ask(helper, key).await? {
                    return Ok(Some(found));
                }
            }
        }
        let found = keys.iter().find_map(|key| self.auths.get(key)?.get("auth")?.as_str());
        Ok(found.and_then(|auth| parted(auth, registry)))
    }
}

/// `auth` of an entry: user and password, in base64.
fn parted(auth: &str, registry: &str) -> Option<DockerCredentials> {
    let both = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = both.split_once(':')?;
    Some(DockerCredentials {
        username: Some(user.to_owned()),
        password: Some(password.to_owned()),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

/// The names under which configurations may have a registry.
fn keys(registry: &str) -> Vec<String> {
    let mut keys = vec![registry.to_owned(), format!("https://{registry}")];
    if registry == "docker.io" {
        keys.extend([DOCKER_HUB.to_owned(), "index.docker.io".to_owned()]);
    }
    keys
}

/// Asks a credential helper (docs.docker.com/reference/cli/docker/login/#credential-helper-protocol). One that knows
/// nothing fails; one that is not there is an error.
async fn ask(helper: &str, registry: &str) -> Result<Option<DockerCredentials>> {
    let program = format!("docker-credential-{helper}");
    let mut command = Command::new(&program);
    command.arg("get");
    let answer = answer_of(command, registry, PATIENCE).await.map_err(|error| {
        DriverError::Unsupported(format!(
            "`{program}`, which the engine's configuration names, cannot be asked: {error}"
        ))
    })?;
    let Ok(Helped { user, secret }) = serde_json::from_slice(&answer) else { return Ok(None) };
    let mut found =
        DockerCredentials { serveraddress: Some(registry.to_owned()), ..DockerCredentials::default() };
    if user == TOKEN {
        found.identitytoken = Some(secret);
    } else {
        (found.username, found.password) = (Some(user), Some(secret));
    }
    Ok(Some(found))
}

/// What a program answers to a text, as far as it is not too long. One that takes its time is killed.
async fn answer_of(mut command: Command, text: &str, patience: Duration) -> io::Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let asked = async {
        if let Some(mut input) = input {
            input.write_all(text.as_bytes()).await?;
        }
        let mut answer = Vec::new();
        if let Some(output) = output {
            output.take(LONGEST).read_to_end(&mut answer).await?;
        }
        child.wait().await.map(|_| answer)
    };
    let late = || io::Error::other(format!("it gave no answer within {} seconds", patience.as_secs()));
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| Err(late()))
}

impl Engine {
    /// Where the user's configuration of registries is, the first that has one counts.
    fn configurations(&self) -> Vec<PathBuf> {
        let home = env::var_os("HOME").map(PathBuf::from);
        let docker = env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".docker")))
            .map(|folder| folder.join("config.json"));
        let runtime =
            env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("containers/auth.json"));
        let own = home.map(|home| home.join(".config/containers/auth.json"));
        let podman = [runtime, own].into_iter().flatten();
        if self.takes_profile_as_text() {
            docker.into_iter().collect()
        } else {
            podman.chain(docker).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_registry_and_its_tag() {
        for (image, registry, tag) in [
            ("debian", "docker.io", false),
            ("debian:12", "docker.io", true),
            ("library/debian", "docker.io", false),
            ("localhost/mine", "localhost", false),
            ("127.0.0.1:5000/mine", "127.0.0.1:5000", false),
            ("ghcr.io/a/b:c", "ghcr.io", true),
            ("ghcr.io/a/b@sha256:00", "ghcr.io", true),
        ] {
            assert_eq!((registry_of(image), has_tag(image)), (registry, tag), "{image}");
        }
    }

    #[test]
    fn what_the_engine_would_not_read_is_known() {
        let told = |password: &str| {
            let auth = STANDARD.encode(format!("joe:{password}"));
            can_be_told(&parted(&auth, "127.0.0.1:5000").unwrap())
        };
        assert!(told("simple"));
        assert!(!told("pw?>~secret"));
    }

    #[tokio::test]
    async fn a_helper_that_gives_no_answer_is_not_waited_for() {
        let mut silent = Command::new("/bin/sleep");
        silent.arg("1000");
        let asked = answer_of(silent, "ghcr.io", Duration::from_millis(50)).await;
        assert!(asked.unwrap_err().to_string().contains("no answer"));
        let mut endless = Command::new("/usr/bin/yes");
        endless.arg("get");
        assert_eq!(answer_of(endless, "ghcr.io", PATIENCE).await.unwrap().len(), 1 << 20);
    }

    #[tokio::test]
    async fn credentials_are_of_their_registry_only() {
        let text = r#"{"auths": {"ghcr.io": {"auth": "YTpi"}, "https://index.docker.io/v1/": {"auth": "Yzpk"}, "e.example": {}}}"#;
        let configuration: Configuration = serde_json::from_str(text).unwrap();
        let auth = async |registry| {
            configuration.credentials(registry).await.unwrap().and_then(|found| found.password)
        };
        assert_eq!(auth("ghcr.io").await.as_deref(), Some("b"));
        assert_eq!(auth("docker.io").await.as_deref(), Some("d"));
        assert_eq!(auth("e.example").await, None);
        assert_eq!(auth("other.example").await, None);
    }
}
