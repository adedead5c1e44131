//! The supervisor as the first process of a container.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{Docker, models::ContainerWaitResponse};
use chiton_api::control::{FilesystemPolicy, Identity, Launch, LayerReport, ProxyConfig};
use chiton_driver::{
    Capabilities, DriverError, DriverName, LayerCheck, LimitsHit, PullStep, Resources, Result, SandboxId,
    SandboxSpec,
};
use chiton_driver_host::{Papers, Platform, ProcessId, Starting, Whom};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixStream, sync::mpsc};

use crate::{
    Engine, cdi,
    client::{Client, Known, Standing, failed},
    container::{self, Brought, Given, Places},
    examine,
    hand_over::{Expected, HandOver},
    image::{self, Image},
    limits,
    pids::Counted,
    profile, registry,
    sidecar::{
        self, Request, Until,
        files::Files,
        life,
        near::{self, Followers, Sidecar},
        order,
    },
    user::User,
    workspace::Workspace,
};

/// How long a killed process may take until its engine is asked: one of a paused container ends when that goes on.
pub(crate) const DEATH: Duration = Duration::from_secs(1);
/// This program's copy, where another has taken its name.
const COPY: &str = "chiton";

/// Starts supervisors in an engine's containers.
#[derive(Debug)]
pub struct Container {
    pub(crate) client: Arc<Client>,
    /// What brings the files of sandboxes with a sidecar.
    pub(crate) followers: Followers,
    /// What all sandboxes share: this program's copy, the profile.
    folder: PathBuf,
    /// One at a time writes there.
    writing: Mutex<()>,
}

/// A sandbox's container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The sandbox that its label names.
    pub(crate) sandbox: String,
    /// Its name: known before it exists.
    pub(crate) name: String,
    /// What the engine calls it, once it exists.
    pub(crate) container: Option<String>,
    /// Its first process, once it has begun.
    process: Option<ProcessId>,
    /// Which engine, with its version.
    engine: String,
    pub(crate) user: User,
    pub(crate) image: Image,
    pub(crate) workspace: Workspace,
    #[serde(default)]
    pub(crate) resources: Resources,
    /// Devices.
    #[serde(default)]
    gpu: cdi::Given,
    /// Where its processes are counted, where they are limited.
    #[serde(default)]
    counted: Option<Counted>,
    /// The container beside it, where that is the way out.
    #[serde(default)]
    sidecar: Option<Sidecar>,
}

impl Place {
    /// What the engine calls the sandbox's own container, or the name that it is given.
    pub(crate) fn own_container(&self) -> &str {
        self.container.as_deref().unwrap_or(&self.name)
    }

    pub(crate) fn places(&self) -> Places {
        match self.sidecar {
            Some(_) => Places::beside(&self.sandbox),
            None => Places::of(&self.sandbox),
        }
    }
}

impl Container {
    pub(crate) fn new(engine: Engine, folder: PathBuf) -> Self {
        // An earlier gateway's, another program. What runs keeps its file, whether or not it has a name.
        let _ = fs::remove_file(folder.join(COPY));
        let client = Arc::new(Client::new(engine));
        Self { client, followers: Followers::default(), folder, writing: Mutex::default() }
    }

    /// This program as a file that the engine can mount: itself, or, where another has taken its name, a copy.
    fn program(&self) -> io::Result<PathBuf> {
        use std::os::unix::fs::MetadataExt as _;
        let this = fs::metadata("/proc/self/exe")?;
        let path = fs::read_link("/proc/self/exe")?;
        if fs::metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == (this.dev(), this.ino())) {
            return Ok(path);
        }
        let copy = self.folder.join(COPY);
        if !copy.exists() {
            let fresh = copy.with_extension("new");
            fs::copy("/proc/self/exe", &fresh)?;
            fs::rename(fresh, &copy)?;
        }
        Ok(copy)
    }

    /// The profile: its text, or the path of a file with it, as the engine takes it.
    fn profile(&self) -> io::Result<String> {
        if self.client.engine.takes_profile_as_text() {
            return Ok(profile::text());
        }
        let path = self.folder.join("seccomp.json");
        let fresh = self.folder.join("seccomp.new");
        fs::write(&fresh, profile::text())?;
        fs::rename(fresh, &path)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Makes the container. Until it is written down, it is found by its name.
    pub(crate) async fn create(&self, known: &Known, place: &Place, brought: Brought) -> Result<String> {
        let mut command = place.places().supervise();
        if place.sidecar.is_some() {
            command.push(life::ordered(place));
        }
        let given = Given {
            workspace: Some(&place.workspace.path),
            command,
            resources: place.resources,
            gpu: &place.gpu.names,
            ..self.given(&place.sandbox, brought)?
        };
        let order = container::order(&self.client.engine, &place.image, place.user, &given)?;
        self.client.create_with(known, &place.name, order, &place.gpu.names).await
    }

    /// This program as a path of this machine.
    pub(crate) fn mounted(&self, hand_over: Option<PathBuf>) -> Result<Brought> {
        Ok(Brought::Mounted { program: self.prepared(Self::program)?, hand_over })
    }

    /// Something in the folder that all sandboxes share.
    fn prepared<T>(&self, what: fn(&Self) -> io::Result<T>) -> Result<T> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let made = fs::create_dir_all(&self.folder).and_then(|()| what(self));
        made.map_err(|source| DriverError::Io { doing: "cannot prepare what the container is given", source })
    }

    /// What every container is given.
    pub(crate) fn given<'a>(&self, id: &'a str, brought: Brought) -> Result<Given<'a>> {
        let profile = self.prepared(Self::profile)?;
        Ok(Given {
            id,
            brought,
            profile,
            workspace: None,
            command: Vec::new(),
            resources: Resources::default(),
            gpu: &[],
        })
    }

    async fn hand_over(
        &self,
        docker: &Docker,
        place: &Place,
        (hand_over, papers): (HandOver, Papers),
    ) -> Result<ProcessId> {
        let id = place.own_container();
        docker.start_container(id, None).await.map_err(failed(&self.client.engine, "start the container"))?;
        let places = place.places();
        let ordered = [places.workspace(), places.program(), places.hand_over()];
        let ordered_by_image = place.image.volumes.iter().chain(&ordered).map(Path::new);
        let expected = Expected {
            user: place.user,
            workspace: &place.workspace,
            place: &ordered[0],
            mounts: ordered_by_image.chain(place.gpu.places()).collect(),
        };
        let mut ended = std::pin::pin!(docker.wait_container(id, None));
        tokio::select! {
            given = hand_over.give(&papers, &expected) => given.map_err(|error| self.not_here(&error)),
            end = ended.next() => Err(self.ended_early(end)),
        }
    }

    pub(crate) fn ended_early(
        &self,
        end: Option<std::result::Result<ContainerWaitResponse, bollard::errors::Error>>,
    ) -> DriverError {
        DriverError::Unsupported(format!(
            "the first process of the container ended before it had begun{}: `chiton doctor --driver {}` tries what \
             it needs",
            match end {
                Some(Ok(end)) => format!(" (status {})", end.status_code),
                Some(Err(error)) => format!(" ({})", crate::client::plain(&error)),
                None => String::new(),
            },
            self.client.engine.name()
        ))
    }

    fn not_here(&self, error: &io::Error) -> DriverError {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return DriverError::Unsupported(format!(
                "the container's first process is not what was asked for: {error}"
            ));
        }
        DriverError::Unsupported(format!(
            "the container's first process did not reach this gateway ({error}): the engine must run on this \
             machine's own kernel, not in a virtual machine or on another host{}",
            self.client.engine.way_on()
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
            resources: limits::keeps_all(&self.client.engine),
            gpu: true,
            images: true,
        }
    }

    fn check_resources(&self, resources: &Resources) -> Result<()> {
        limits::check(&self.client.engine, resources)
    }

    async fn place(&self, spec: &SandboxSpec, _others: &[Place]) -> Result<Place> {
        self.check_resources(&spec.resources)?;
        let sidecar = self.client.engine.sidecar;
        if sidecar && !spec.gpu.is_none() {
            return Err(DriverError::Unsupported(
                "`static.gpu` cannot be given beside a sidecar, since its devices cannot be looked at from here: leave \
                 it out, or leave `[docker] sidecar` out"
                    .to_owned(),
            ));
        }
        let name = spec.image.as_deref().ok_or_else(|| {
            DriverError::Unsupported("a container's files are an image's: add --image IMAGE".to_owned())
        })?;
        let io = |source| DriverError::Io { doing: "cannot look at the workspace", source };
        let (workspace, owner) = Workspace::at(&spec.workspace).map_err(io)?;
        let user = User::for_workspace(&workspace, owner)?;
        let known = self.client.get().await?;
        let image = image::look_up(&known.docker, &self.client.engine, name).await?;
        let container = format!("chiton-{}-{}", spec.name, spec.id);
        let sidecar = sidecar.then(|| Sidecar {
            sandbox: spec.id.clone(),
            container: order::name(&container),
            files: Files::of(spec),
        });
        Ok(Place {
            sandbox: spec.id.to_string(),
            name: container,
            container: None,
            process: None,
            engine: known.about.clone(),
            user,
            image,
            workspace,
            resources: spec.resources,
            gpu: self.client.devices(&known, &spec.gpu).await?,
            counted: None,
            sidecar,
        })
    }

    async fn start(&self, mut starting: Starting<'_, Place>) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot make the socket for the container", source };
        let known = self.client.get().await?;
        if let Some(sidecar) = starting.place.sidecar.clone() {
            return self.start_beside(&known, &mut starting, &sidecar).await;
        }
        let given = (HandOver::open(starting.folder).map_err(io)?, starting.papers()?);
        let brought = self.mounted(Some(given.0.folder.clone()))?;
        let id = self.create(&known, &starting.place, brought).await?;
        starting.place.container = Some(id);
        starting.keep()?;
        let process = self.hand_over(&known.docker, &starting.place, given).await?;
        starting.place.process = Some(process);
        starting.keep()?;
        let engine = &self.client.engine;
        limits::verify(engine, process.number(), &starting.place.resources)?;
        starting.place.gpu.verify(process.number())?;
        if let Some(pids) = starting.place.resources.pids {
            starting.place.counted = Some(Counted::make(engine, process.number(), pids)?);
            starting.keep()?;
        }
        Ok(())
    }

    /// The container's user is the agent's. In the sandbox's own user namespace it is what the image says.
    fn identity(&self, place: &Place) -> Identity {
        place.image.user.clone().map_or(Identity::Caller, |user| Identity::Image { user })
    }

    fn seen_from(&self, place: &Place, policy: FilesystemPolicy) -> Result<FilesystemPolicy> {
        if let Some(path) = policy.extra_read_only.first() {
            return Err(DriverError::Unsupported(format!(
                "`-r {}` names a path of this machine, and the sandbox sees an image's files: leave it out",
                path.display()
            )));
        }
        let places = place.places();
        let workspace = PathBuf::from(places.workspace());
        let inside = |path: &PathBuf| {
            path.strip_prefix(&place.workspace.path)
                .map_or_else(|_| path.clone(), |below| workspace.join(below))
        };
        let variables = place.image.env.iter().filter_map(|variable| variable.split_once('='));
        Ok(FilesystemPolicy {
            policy_file: policy.policy_file.as_ref().map(inside),
            workspace: policy.workspace.is_some().then_some(workspace),
            own_folders: [places.program(), places.hand_over()].map(PathBuf::from).into(),
            image: true,
            directory: place.image.directory.as_ref().map(PathBuf::from),
            // What a device brings goes before what the image says.
            image_env: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .chain(place.gpu.env.clone())
                .collect(),
            devices: place.gpu.for_view(),
            ..policy
        })
    }

    fn viewed(&self, place: &mut Place) -> Result<()> {
        let Some(counted) = &place.counted else { return Ok(()) };
        let first = place.process.and_then(|outer| outer.children().first().copied());
        let first = first.ok_or_else(|| {
            let text =
                "the first process inside is not known, and nothing starts without its limits: try again";
            DriverError::Unsupported(text.to_owned())
        })?;
        counted.join(first.number())
    }

    async fn limits_hit(&self, place: &Place) -> LimitsHit {
        LimitsHit { pids: place.counted.as_ref().map_or(0, Counted::hits), ..LimitsHit::default() }
    }

    fn launched(&self, place: &Place, launch: &Launch) -> Launch {
        let entrypoint = if launch.main { place.image.entrypoint.as_slice() } else { &[] };
        Launch { argv: entrypoint.iter().chain(&launch.argv).cloned().collect(), ..launch.clone() }
    }

    fn layer(&self, place: &Place) -> Option<LayerReport> {
        let devices = match place.gpu.names.as_slice() {
            [] => String::new(),
            names => format!("; with {}", names.join(", ")),
        };
        let detail = format!(
            "{}, image {}; no network, no capability, user {} of the host, {} system calls{devices}{}",
            place.engine,
            place.image.id,
            place.user,
            profile::count(),
            if place.sidecar.is_some() { sidecar::REPORTED } else { "" }
        );
        Some(LayerReport { layer: "container".into(), enforced: true, detail })
    }

    async fn reach(&self, place: &Place, id: &SandboxId, whom: Whom) -> Result<UnixStream> {
        let sidecar = place.sidecar.as_ref().ok_or_else(|| DriverError::NotRunning(id.clone()))?;
        self.followers.ensure(&self.client, sidecar);
        sidecar.speak(&self.client, whom.socket()).await
    }

    fn is_apart(&self, place: &Place) -> bool {
        place.sidecar.is_some()
    }

    async fn attach_proxy(&self, place: &Place, mut config: ProxyConfig) -> Result<()> {
        let sidecar =
            place.sidecar.as_ref().ok_or_else(|| near::broken(io::ErrorKind::NotConnected.into()))?;
        // It has no file of any system.
        config.upstream.extra_ca.extend(chiton_tls::system_roots_pem());
        sidecar.ask(&self.client, &Request::Attach(Box::new(config))).await
    }

    async fn written(&self, place: &Place) {
        if let Some(sidecar) = &place.sidecar {
            sidecar.take(&self.client, Until::Now).await;
        }
    }

    async fn pull(&self, image: &str, told: &mpsc::Sender<PullStep>) -> Result<()> {
        let known = self.client.get().await?;
        registry::pull(&known, &self.client.engine, image, told).await
    }

    async fn examine(&self) -> Result<Vec<LayerCheck>> {
        examine::examine(self).await
    }

    async fn halted(&self, place: &Place) -> Option<String> {
        let known = self.client.get().await.ok()?;
        let paused = self.client.standing(&known, place.own_container()).await == Standing::IsPaused;
        paused.then(|| {
            let engine = self.client.engine.name();
            format!("its container is paused: `{engine} unpause {}` lets it go on", place.name)
        })
    }

    async fn is_over(&self, place: &Place) -> bool {
        let Some(sidecar) = &place.sidecar else { return true };
        let Ok(known) = self.client.get().await else { return false };
        self.client.standing(&known, place.own_container()).await == Standing::IsOver
            || self.client.standing(&known, &sidecar.container).await == Standing::IsOver
    }

    async fn settled(&self, place: &Place) {
        if let Some(process) = place.process.and_then(ProcessId::hold) {
            let _ = process.ended().await;
        }
    }

    /// The end of the first process is everything's, also where the engine does not answer.
    async fn end(&self, place: &Place) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot end the container's first process", source };
        let first = place.process.and_then(ProcessId::hold);
        if let Some(first) = &first {
            first.kill().map_err(io)?;
            let _ = tokio::time::timeout(DEATH, first.ended()).await;
        }
        let known = self.client.get().await?;
        if let Some(sidecar) = &place.sidecar {
            return self.end_beside(&known, place, sidecar).await;
        }
        // Its name holds the sandbox's id, and is nobody else's. What an engine says of a container is not asked for:
        // Podman knows states that Docker's API does not.
        self.client.remove(&known.docker, place.own_container()).await?;
        match first {
            Some(first) => first.ended().await.map_err(io),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_elsewhere_is_told_of_the_sidecar() {
        let folder = tempfile::tempdir().unwrap();
        let said = |engine| {
            Container::new(engine, folder.path().to_owned())
                .not_here(&io::ErrorKind::TimedOut.into())
                .to_string()
        };
        assert!(said(Engine::docker(None)).contains("`[docker] sidecar = true` in config.toml"));
        assert!(!said(Engine::podman(None)).contains("sidecar"));
    }

    #[tokio::test]
    async fn a_sandbox_ends_though_its_engine_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::docker(Some(folder.path().join("no.sock")));
        let mut sleep = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let (workspace, user) = Workspace::at(&fs::canonicalize(folder.path()).unwrap()).unwrap();
        let place = Place {
            sandbox: "01abc".to_owned(),
            name: "chiton-demo-01abc".to_owned(),
            container: Some("c".to_owned()),
            process: Some(ProcessId::of(i32::try_from(sleep.id()).unwrap()).unwrap()),
            engine: "docker".to_owned(),
            user,
            image: Image { id: "i".to_owned(), ..Image::default() },
            workspace,
            resources: Resources::default(),
            gpu: cdi::Given::default(),
            counted: None,
            sidecar: None,
        };
        let ended = Container::new(engine, folder.path().to_owned()).end(&place).await;
        assert!(matches!(ended, Err(DriverError::Unsupported(_))));
        assert!(!sleep.wait().unwrap().success());
    }
}
