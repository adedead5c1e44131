//! Asking the engine.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::ContainerCreateBody,
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use chiton_driver::{DriverError, Gpu, Result};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{Engine, cdi, libpod};

/// Seconds that one answer may take: a container is made within these, also on a busy machine.
pub(crate) const PATIENCE: u64 = 60;
/// How long an engine may take to say that it is there: Podman looks its programs over first, seconds on a busy machine.
/// A gateway that starts asks it, and serves others too.
const THERE: Duration = Duration::from_secs(20);
/// How long an engine may refuse to remove a container, and when it is asked again.
const REMOVAL: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(20);

/// An engine, asked over its socket.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) engine: Engine,
    /// The last one that answered.
    known: Mutex<Option<Arc<Known>>>,
}

/// What an engine says of a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs.
    Runs,
    /// Somebody paused it.
    IsPaused,
    /// It has ended, or there is none.
    IsOver,
    /// Neither: why that is not known.
    Unsaid(String),
}

/// An engine that answered.
#[derive(Debug)]
pub(crate) struct Known {
    /// At the version of the API that both speak; every request is a connection of its own.
    pub(crate) docker: Docker,
    /// Its name and version, for people.
    pub(crate) about: String,
    version: String,
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, known: Mutex::default() }
    }

    /// The engine, where it answers.
    ///
    /// # Errors
    /// It does not: where it was looked for, and what to do.
    pub(crate) async fn get(&self) -> Result<Arc<Known>> {
        // Not locked meanwhile: who asks may be left alone with its question, and others ask.
        let known = self.known().clone();
        if let Some(known) = known
            && let Ok(Ok(_)) = tokio::time::timeout(THERE, known.docker.ping()).await
        {
            return Ok(known);
        }
        let found = Arc::new(self.find().await?);
        *self.known() = Some(Arc::clone(&found));
        Ok(found)
    }

    fn known(&self) -> MutexGuard<'_, Option<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The devices that are asked for, where the engine gives any.
    pub(crate) async fn devices(&self, known: &Known, asked: &Gpu) -> Result<cdi::Given> {
        if asked.is_none() {
            return Ok(cdi::Given::default());
        }
        let mut named = Vec::new();
        if self.engine.takes_device_requests() {
            let info = known.docker.info().await.map_err(failed(&self.engine, "say what it can do"))?;
            named = info.cdi_spec_dirs.unwrap_or_default();
        }
        let folders = self.engine.device_folders(&known.version, &named).map_err(|lacks| {
            DriverError::Unsupported(format!(
                "`static.gpu` cannot be given by {}: {lacks}: leave it out of the policy, or renew the engine",
                known.about
            ))
        })?;
        cdi::Given::find(asked, &folders)
    }

    /// How a container is.
    pub(crate) async fn standing(&self, known: &Known, container: &str) -> Standing {
        let said = match known.docker.inspect_container(container, None).await {
            Err(error) if is_missing(&error) => return Standing::IsOver,
            Err(error) => return Standing::Unsaid(plain(&error)),
            Ok(found) => found.state.unwrap_or_default(),
        };
        match (said.running, said.paused) {
            (_, Some(true)) => Standing::IsPaused,
            (Some(true), _) => Standing::Runs,
            (Some(false), _) => Standing::IsOver,
            (None, _) => Standing::Unsaid("not whether it runs".to_owned()),
        }
    }

    /// Makes a container with devices, and says what the engine calls it.
    pub(crate) async fn create_with(
        &self,
        known: &Known,
        name: &str,
        order: ContainerCreateBody,
        devices: &[String],
    ) -> Result<String> {
        if devices.is_empty() || self.engine.takes_device_requests() {
            return self.create(known, name, order).await;
        }
        let _alone = self.alone(known).await;
        libpod::create(&known.socket, name, order, devices).await
    }

    /// Makes a container, and says what the engine calls it.
    pub(crate) async fn create(
        &self,
        known: &Known,
        name: &str,
        order: ContainerCreateBody,
    ) -> Result<String> {
        let _alone = self.alone(known).await;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = known.docker.create_container(Some(options), order).await;
        let id = made.map_err(failed(&self.engine, "make the container"))?.id;
        if id.is_empty() {
            // Asked for without a name, an engine would mean all of them.
            return Err(self.nonsense("it made a container and does not say which"));
        }
        Ok(id)
    }

    /// An ordinary user's Podman looks up which ids its user has in a way that two at once may not: it refuses one of
    /// their containers, or gives it other ids (podman#20107). So they are made one at a time, by all gateways that ask
    /// there, for as long as this is held. Where nothing can be locked, a container that got other ids is still refused.
    async fn alone(&self, known: &Known) -> Option<File> {
        let patience = Duration::from_secs(PATIENCE);
        if self.engine.is_rootless() { alone_at(&known.socket, patience).await } else { None }
    }

    fn nonsense(&self, what: &str) -> DriverError {
        DriverError::Unsupported(format!("{} gave an answer that means nothing: {what}", self.engine.name()))
    }

    /// Ends a container and removes it, with what it wrote. One that is gone is fine. While the engine does so by
    /// itself, since the first process has ended, it refuses for a moment: it is asked until it has done so.
    pub(crate) async fn remove(&self, docker: &Docker, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let began = Instant::now();
        loop {
            match docker.remove_container(id, Some(options.clone())).await {
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) if status(&error).is_some() && began.elapsed() < REMOVAL => {
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done.map_err(failed(&self.engine, "remove the container")),
            }
        }
    }

    async fn find(&self) -> Result<Known> {
        let engine = &self.engine;
        let mut tried = Vec::new();
        for socket in &engine.sockets {
            match tokio::time::timeout(THERE, try_connect(socket)).await {
                Ok(Ok((docker, version))) => {
                    let about = format!("{} {version}", engine.name());
                    return Ok(Known { docker, about, version, socket: socket.clone() });
                }
                Ok(Err(error)) => tried.push(format!("{}: {}", socket.display(), plain(&error))),
                Err(_) => tried.push(format!("{}: no answer within 20 seconds", socket.display())),
            }
        }
        let tried = if tried.is_empty() { "no socket is known".to_owned() } else { tried.join("; ") };
        Err(DriverError::Unsupported(format!(
            "the driver `{}` cannot reach its engine ({tried}): start it (`{}`), or name its socket with `{}` in \
             config.toml",
            engine.name(),
            engine.mend(),
            engine.setting()
        )))
    }
}

/// The folder of a socket, locked; whoever has it is waited for, but not for ever.
async fn alone_at(socket: &Path, patience: Duration) -> Option<File> {
    let folder = File::open(socket.parent()?).ok()?;
    let began = Instant::now();
    while let Err(error) = flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK || began.elapsed() > patience {
            return None;
        }
        tokio::time::sleep(AGAIN).await;
    }
    Some(folder)
}

async fn try_connect(socket: &Path) -> std::result::Result<(Docker, String), Error> {
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&path, PATIENCE, API_DEFAULT_VERSION)?.negotiate_version().await?;
    let version = docker.version().await?.version.unwrap_or_default();
    Ok((docker, version))
}

/// What the engine said, as an error of the driver.
pub(crate) fn failed<'a>(engine: &'a Engine, doing: &'a str) -> impl FnOnce(Error) -> DriverError + 'a {
    move |error| DriverError::Unsupported(format!("{} cannot {doing}: {}", engine.name(), plain(&error)))
}

/// Whether there is no such thing.
pub(crate) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_does_not_answer_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let _listens = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = Client::new(Engine::docker(Some(path)));
        let began = std::time::Instant::now();
        let error = client.get().await.unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn two_at_one_socket_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let first = alone_at(&socket, Duration::ZERO).await.unwrap();
        assert!(alone_at(&socket, Duration::ZERO).await.is_none());
        let second = tokio::spawn(async move { alone_at(&socket, THERE).await });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap().is_some());
    }

    /// Answers one request with this JSON, as an engine that is none.
    fn answering(path: &Path, json: &'static str) {
        use std::io::{Read as _, Write as _};
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut link, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while !seen.ends_with(b"}") {
                let read = link.read(&mut buffer).unwrap();
                seen.extend_from_slice(buffer.get(..read).unwrap());
            }
            let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write!(link, "{head}Content-Length: {}\r\n\r\n{json}", json.len()).unwrap();
        });
    }

    #[tokio::test]
    async fn a_container_without_an_id_is_nonsense() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        answering(&path, r#"{"Id":"","Warnings":[]}"#);
        let docker = Docker::connect_with_unix(path.to_str().unwrap(), 5, API_DEFAULT_VERSION).unwrap();
        let known = Known { docker, about: String::new(), version: String::new(), socket: path.clone() };
        let client = Client::new(Engine::docker(Some(path)));
        let error = client.create(&known, "n", ContainerCreateBody::default()).await.unwrap_err();
        assert!(error.to_string().contains("an answer that means nothing"), "{error}");
    }
}
