//! The supervisor as the first process of a container.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bollard::Docker;
use chiton_api::control::{FilesystemPolicy, Identity, Launch, LayerReport};
use chiton_driver::{Capabilities, DriverError, DriverName, LayerCheck, Result, SandboxSpec};
use chiton_driver_host::{Platform, ProcessId, Starting};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::{
    Engine,
    client::{Client, failed},
    container::{self, Given, OWN, WORKSPACE},
    examine,
    hand_over::HandOver,
    image::{self, Image},
    profile,
    user::User,
};

/// Starts supervisors in an engine's containers.
#[derive(Debug)]
pub struct Container {
    pub(crate) client: Client,
    /// What all sandboxes share: this program's copy, the profile.
    folder: PathBuf,
}

/// A sandbox's container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The sandbox that its label names.
    sandbox: String,
    /// Its name: known before it exists.
    name: String,
    /// What the engine calls it, once it exists.
    container: Option<String>,
    /// Its first process, once it has begun.
    process: Option<ProcessId>,
    /// Which engine, with its version.
    engine: String,
    pub(crate) user: User,
    pub(crate) image: Image,
    workspace: PathBuf,
}

impl Container {
    pub(crate) fn new(engine: Engine, folder: PathBuf) -> Self {
        Self { client: Client::new(engine), folder }
    }

    /// This program as a file that the engine can mount: itself, or, where another has taken its name, a copy.
    fn program(&self) -> io::Result<PathBuf> {
        use std::os::unix::fs::MetadataExt as _;
        let this = fs::metadata("/proc/self/exe")?;
        let path = fs::read_link("/proc/self/exe")?;
        if fs::metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == (this.dev(), this.ino())) {
            return Ok(path);
        }
        let copy = self.folder.join(format!("chiton-{}", this.ino()));
        if !copy.exists() {
            self.forget_copies()?;
            let fresh = copy.with_extension("new");
            fs::copy("/proc/self/exe", &fresh)?;
            fs::rename(fresh, &copy)?;
        }
        Ok(copy)
    }

    /// Those of earlier programs: what runs keeps its file, whether or not it has a name.
    fn forget_copies(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("chiton-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn profile(&self) -> io::Result<PathBuf> {
        let path = self.folder.join("seccomp.json");
        let fresh = self.folder.join("seccomp.new");
        fs::write(&fresh, profile::text())?;
        fs::rename(fresh, &path)?;
        Ok(path)
    }

    /// Makes the container. Until it is written down, it is found by its name.
    async fn create(&self, docker: &Docker, place: &Place, hand_over: &Path) -> Result<String> {
        let given = Given {
            folders: Some((&place.workspace, hand_over)),
            command: container::supervise(),
            ..self.given(&place.sandbox)?
        };
        let order = container::order(&self.client.engine, &place.image, place.user, &given);
        self.client.create(docker, &place.name, order).await
    }

    /// What every container is given: this program.
    pub(crate) fn given<'a>(&self, id: &'a str) -> Result<Given<'a>> {
        let io = |source| DriverError::Io { doing: "cannot prepare what the container is given", source };
        fs::create_dir_all(&self.folder).map_err(io)?;
        let (program, profile) = (self.program().map_err(io)?, self.profile().map_err(io)?);
        Ok(Given { id, program, profile, folders: None, command: Vec::new() })
    }

    async fn hand_over(
        &self,
        docker: &Docker,
        starting: &Starting<'_, Place>,
        hand_over: HandOver,
    ) -> Result<ProcessId> {
        let place = &starting.place;
        let id = place.container.as_deref().unwrap_or(&place.name);
        docker.start_container(id, None).await.map_err(failed(&self.client.engine, "start the container"))?;
        let mut ended = std::pin::pin!(docker.wait_container(id, None));
        tokio::select! {
            given = hand_over.give(starting.papers, place.user) => given.map_err(|error| self.not_here(&error)),
            end = ended.next() => Err(DriverError::Unsupported(format!(
                "the first process of the container ended before it had begun{}: `chiton doctor --driver {}` tries \
                 what it needs",
                match end {
                    Some(Ok(end)) => format!(" (status {})", end.status_code),
                    Some(Err(error)) => format!(" ({})", crate::client::plain(&error)),
                    None => String::new(),
                },
                self.client.engine.name()
            ))),
        }
    }

    fn not_here(&self, error: &io::Error) -> DriverError {
        DriverError::Unsupported(format!(
            "the container's first process did not reach this gateway ({error}): the engine must run on this \
             machine's own kernel, not in a virtual machine or on another host"
        ))
    }
}

#[async_trait]
impl Platform for Container {
    type Place = Place;

    fn name(&self) -> DriverName {
        self.client.engine.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            live_denied_paths: true,
            transparent_capture: true,
            resources: false,
            gpu: false,
            images: true,
        }
    }

    async fn place(&self, spec: &SandboxSpec, _others: &[Place]) -> Result<Place> {
        let name = spec.image.as_deref().ok_or_else(|| {
            DriverError::Unsupported("a container's files are an image's: add --image IMAGE".to_owned())
        })?;
        let user = User::for_workspace(&spec.workspace)?;
        let known = self.client.get().await?;
        let image = image::look_up(&known.docker, &self.client.engine, name).await?;
        Ok(Place {
            sandbox: spec.id.to_string(),
            name: format!("chiton-{}-{}", spec.name, spec.id),
            container: None,
            process: None,
            engine: known.about.clone(),
            user,
            image,
            workspace: spec.workspace.clone(),
        })
    }

    async fn start(&self, mut starting: Starting<'_, Place>) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot make the socket for the container", source };
        let known = self.client.get().await?;
        let hand_over = HandOver::open(starting.folder).map_err(io)?;
        let id = self.create(&known.docker, &starting.place, &hand_over.folder).await?;
        starting.place.container = Some(id);
        starting.keep()?;
        starting.place.process = Some(self.hand_over(&known.docker, &starting, hand_over).await?);
        starting.keep()
    }

    /// The container's user is the agent's, mapped to itself in the sandbox's own user namespace.
    fn identity(&self, _place: &Place) -> Identity {
        Identity::Caller
    }

    fn seen_from(&self, place: &Place, policy: FilesystemPolicy) -> Result<FilesystemPolicy> {
        if let Some(path) = policy.extra_read_only.first() {
            return Err(DriverError::Unsupported(format!(
                "`-r {}` names a path of this machine, and the sandbox sees an image's files: leave it out",
                path.display()
            )));
        }
        let inside = |path: &PathBuf| {
            path.strip_prefix(&place.workspace)
                .map_or_else(|_| path.clone(), |below| Path::new(WORKSPACE).join(below))
        };
        let mut env = policy.env;
        for (name, value) in place.image.env.iter().filter_map(|variable| variable.split_once('=')) {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        Ok(FilesystemPolicy {
            workspace: policy.workspace.is_some().then(|| PathBuf::from(WORKSPACE)),
            policy_file: policy.policy_file.as_ref().map(inside),
            own_folders: vec![PathBuf::from(OWN)],
            image: true,
            directory: place.image.directory.as_ref().map(PathBuf::from),
            env,
            ..policy
        })
    }

    fn launched(&self, place: &Place, launch: &Launch) -> Launch {
        let entrypoint = if launch.main { place.image.entrypoint.as_slice() } else { &[] };
        Launch { argv: entrypoint.iter().chain(&launch.argv).cloned().collect(), ..launch.clone() }
    }

    fn layer(&self, place: &Place) -> Option<LayerReport> {
        let detail = format!(
            "{}, image {}; no network, no capability, user {} of the host, {} system calls",
            place.engine,
            place.image.id,
            place.user,
            profile::count()
        );
        Some(LayerReport { layer: "container".into(), enforced: true, detail })
    }

    async fn examine(&self) -> Result<Vec<LayerCheck>> {
        examine::examine(self).await
    }

    async fn settled(&self, place: &Place) {
        if let Some(process) = place.process.and_then(ProcessId::hold) {
            let _ = process.ended().await;
        }
    }

    async fn end(&self, place: &Place) -> Result<()> {
        let known = self.client.get().await?;
        // Its name holds the sandbox's id, and is nobody else's. What an engine says of a container is not asked for:
        // Podman knows states that Docker's API does not.
        let container = place.container.as_ref().unwrap_or(&place.name);
        self.client.remove(&known.docker, container).await
    }
}
