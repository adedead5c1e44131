//! What a container is made from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions,
};

use chiton_driver::{DriverError, Resources, Result};

use crate::{Engine, engine::Unmasked, image::Image, user::User};

/// Marks what is ours: the value is the sandbox's id.
pub(crate) const SANDBOX: &str = "dev.chiton.sandbox";

/// Where the container has what it is given. The folder is named by the sandbox, at the root: no image can have a link
/// there, lead one there, or name it as a volume's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    folder: String,
    /// Whether program and socket are in a volume that it shares with a sidecar.
    beside: bool,
}

impl Places {
    pub(crate) fn of(id: &str) -> Self {
        Self { folder: format!("/.chiton-{id}"), beside: false }
    }

    /// With a sidecar.
    pub(crate) fn beside(id: &str) -> Self {
        Self { beside: true, ..Self::of(id) }
    }

    /// The folder of program and socket.
    pub(crate) fn given(&self) -> String {
        if self.beside { format!("{}/given", self.folder) } else { self.folder.clone() }
    }

    pub(crate) fn program(&self) -> String {
        format!("{}/chiton", self.given())
    }

    pub(crate) fn hand_over(&self) -> String {
        format!("{}/hand-over", self.given())
    }

    /// The workspace in the container. The sandbox in it has it as `/workspace`.
    pub(crate) fn workspace(&self) -> String {
        format!("{}/workspace", self.folder)
    }

    /// What the first process of a sandbox is to do.
    pub(crate) fn supervise(&self) -> Vec<String> {
        vec!["supervisor".to_owned(), format!("{}/{}", self.hand_over(), crate::hand_over::SOCKET)]
    }
}

/// Of processes and threads in the container so many more than the agent's: the supervisor's, and those of its judge.
const OWN_PROCESSES: u32 = 1024;

/// Podman gives its own proxies to every container, with the passwords in their addresses.
pub(crate) const WITHOUT: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// The engine counts processors in thousand millionths.
const NANO_IN_MILLI: i64 = 1_000_000;

/// How a container has this program, and the socket that takes one connection.
#[derive(Debug)]
pub(crate) enum Brought {
    /// As paths of this machine.
    Mounted {
        /// This program.
        program: PathBuf,
        /// The folder with the one socket, where there is one.
        hand_over: Option<PathBuf>,
    },
    /// In a volume of this container's own, where the engine puts it.
    Volume,
    /// From the volume of this other container.
    Beside(String),
}

/// What it is given of this machine.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The sandbox's id.
    pub(crate) id: &'a str,
    /// How it has this program.
    pub(crate) brought: Brought,
    /// What it is to do.
    pub(crate) command: Vec<String>,
    /// The folder of the user.
    pub(crate) workspace: Option<&'a Path>,
    /// What the engine holds it to.
    pub(crate) resources: Resources,
    /// The profile as this engine takes it.
    pub(crate) profile: String,
    /// Devices, by their full names.
    pub(crate) gpu: &'a [String],
}

impl Given<'_> {
    fn places(&self) -> Places {
        match self.brought {
            Brought::Mounted { .. } => Places::of(self.id),
            Brought::Volume | Brought::Beside(_) => Places::beside(self.id),
        }
    }

    fn volumes_from(&self) -> Option<Vec<String>> {
        match &self.brought {
            Brought::Mounted { .. } | Brought::Volume => None,
            Brought::Beside(sidecar) => Some(vec![format!("{sidecar}:ro")]),
        }
    }
}

/// The engine's order: an image's files, our program as the first process, and nothing else.
///
/// # Errors
/// A folder that the engine would take for another.
pub(crate) fn order(
    engine: &Engine,
    image: &Image,
    user: User,
    given: &Given<'_>,
) -> Result<ContainerCreateBody> {
    let command = std::iter::once(given.places().program()).chain(given.command.iter().cloned());
    let body = of_ours((image, user), given.id, command, host(engine, given)?);
    Ok(ContainerCreateBody { network_disabled: Some(true), ..body })
}

/// What every container of ours is: an image's files, our program as the first process, this user, no check.
pub(crate) fn of_ours(
    (image, user): (&Image, User),
    id: &str,
    mut command: impl Iterator<Item = String>,
    host: HostConfig,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.id.clone()),
        env: Some(WITHOUT.iter().map(|name| format!("{name}=")).collect()),
        user: Some(user.to_string()),
        // The image's own start, checks and folder are not the first process's.
        entrypoint: Some(command.next().into_iter().collect()),
        cmd: Some(command.collect()),
        healthcheck: Some(no_check()),
        working_dir: Some("/".to_owned()),
        labels: Some(label(id)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// What every container of ours is held to, beside options like `no-new-privileges`.
pub(crate) fn held(options: Vec<String>) -> HostConfig {
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        privileged: Some(false),
        security_opt: Some(options),
        ipc_mode: Some("private".to_owned()),
        // Whatever the engine's own configuration says: the first process is ours.
        init: Some(false),
        ..HostConfig::default()
    }
}

fn bytes(limit: Option<u64>) -> Option<i64> {
    limit.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// An image's own check is a process in the container that is not in the sandbox. Podman does not say whether it has
/// one.
fn no_check() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }
}

fn host(engine: &Engine, given: &Given<'_>) -> Result<HostConfig> {
    // The supervisor mounts the sandbox's view in a namespace of its own: profiles for containers, which forbid all
    // mounting, stand in the way. What they are for, Landlock and seccomp do inside.
    let mut options = vec![
        format!("seccomp={}", given.profile),
        "no-new-privileges".to_owned(),
        "apparmor=unconfined".to_owned(),
        "label=disable".to_owned(),
    ];
    let lists = match engine.unmasked() {
        Unmasked::EmptyLists => Some(Vec::new()),
        Unmasked::Option(option) => {
            options.push(option.to_owned());
            None
        }
    };
    Ok(HostConfig {
        network_mode: Some("none".to_owned()),
        masked_paths: lists.clone(),
        readonly_paths: lists,
        userns_mode: Some(engine.user_namespace()),
        nano_cpus: given.resources.cpu_millis.map(|millis| i64::from(millis) * NANO_IN_MILLI),
        memory: bytes(given.resources.memory),
        // Both together: no swap besides.
        memory_swap: bytes(given.resources.memory),
        device_requests: devices(engine, given.gpu),
        pids_limit: given.resources.pids.map(|pids| i64::from(pids.saturating_add(OWN_PROCESSES))),
        mounts: Some(mounts(engine, given)?),
        volumes_from: given.volumes_from(),
        // Gone with its first process, also when nobody of ours is there to see it. An examination is read first.
        auto_remove: Some(given.workspace.is_some()),
        // A sandbox's output goes over its own links; only an examination is read from the engine.
        log_config: Some(HostConfigLogConfig {
            typ: Some(if given.workspace.is_some() { "none" } else { "json-file" }.to_owned()),
            config: None,
        }),
        ..held(options)
    })
}

/// Podman is asked for them by its own API.
fn devices(engine: &Engine, names: &[String]) -> Option<Vec<DeviceRequest>> {
    let request = || DeviceRequest {
        driver: Some("cdi".to_owned()),
        device_ids: Some(names.to_vec()),
        ..DeviceRequest::default()
    };
    (engine.takes_device_requests() && !names.is_empty()).then(|| vec![request()])
}

fn mounts(engine: &Engine, given: &Given<'_>) -> Result<Vec<Mount>> {
    let bind = |source: &Path, target: String, read_only| -> Result<Mount> {
        Ok(Mount {
            typ: Some(MountType::BIND),
            source: Some(told(engine, source)?),
            target: Some(target),
            read_only: Some(read_only),
            ..Mount::default()
        })
    };
    let places = given.places();
    let mut mounts = match &given.brought {
        Brought::Mounted { program, .. } => vec![bind(program, places.program(), true)?],
        Brought::Volume => vec![volume(given.id)],
        Brought::Beside(_) => Vec::new(),
    };
    if let Some(workspace) = given.workspace {
        mounts.push(bind(workspace, places.workspace(), false)?);
    }
    if let Brought::Mounted { hand_over: Some(hand_over), .. } = &given.brought {
        mounts.push(bind(hand_over, places.hand_over(), true)?);
    }
    Ok(mounts)
}

/// A volume without a name, for program and socket: the engine removes it with the last container that has it.
pub(crate) fn volume(id: &str) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        target: Some(Places::beside(id).given()),
        read_only: Some(false),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(label(id)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Marks what is a sandbox's.
pub(crate) fn label(id: &str) -> HashMap<String, String> {
    HashMap::from([(SANDBOX.to_owned(), id.to_owned())])
}

/// A path as the engine is told it, where it cannot mistake it for another: Podman writes a mount's fields behind one
/// another, with commas between, and reads that again.
fn told(engine: &Engine, path: &Path) -> Result<String> {
    let mistaken: &[char] = if engine.takes_mounts_as_fields() { &[] } else { &[',', '"', '\n', '\r'] };
    path.to_str().filter(|text| !text.contains(mistaken)).map(str::to_owned).ok_or_else(|| {
        DriverError::Unsupported(format!(
            "{} cannot mount `{}`: there is a character in its path that it would take for something else; rename it",
            engine.name(),
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_stands_for_another() {
        use std::os::unix::ffi::OsStrExt as _;
        let (docker, podman) = (Engine::docker(None), Engine::podman(None));
        let good =
            |engine: &Engine, path: &[u8]| told(engine, Path::new(std::ffi::OsStr::from_bytes(path))).is_ok();
        assert!(good(&docker, b"/w/a,source=/etc") && !good(&podman, b"/w/a,source=/etc"));
        assert!(good(&podman, b"/w/c:d e") && !good(&podman, b"/w/a\"b") && !good(&podman, b"/w/a\nb"));
        assert!(!good(&docker, b"/w/\xff") && !good(&podman, b"/w/\xff"));
    }

    #[test]
    fn an_image_has_no_check_and_cannot_name_our_places() {
        let image = Image { id: "i".into(), ..Image::default() };
        let brought = Brought::Mounted { program: "/p".into(), hand_over: Some("/h".into()) };
        let mut given = Given {
            id: "01abc",
            brought,
            command: vec![],
            workspace: Some(Path::new("/w")),
            profile: String::new(),
            resources: Resources::default(),
            gpu: &["x.test/gpu=0".to_owned()],
        };
        let user = User { uid: 7, gid: 7 };
        let asked = super::order(&Engine::docker(None), &image, user, &given).unwrap().host_config.unwrap();
        let devices = asked.device_requests.unwrap();
        assert_eq!(devices[0].driver.as_deref(), Some("cdi"));
        assert_eq!(devices[0].device_ids.as_deref(), Some(given.gpu));
        let order = order(&Engine::podman(None), &image, user, &given).unwrap();
        assert_eq!(order.healthcheck.unwrap().test.unwrap(), ["NONE"]);
        for mount in order.host_config.unwrap().mounts.unwrap() {
            assert!(mount.target.unwrap().starts_with("/.chiton-01abc/"));
        }
        given.brought = Brought::Beside("c-sidecar".to_owned());
        let order = super::order(&Engine::docker(None), &image, user, &given).unwrap();
        assert_eq!(order.entrypoint.unwrap(), ["/.chiton-01abc/given/chiton"]);
        let host = order.host_config.unwrap();
        let sources: Vec<_> = host.mounts.unwrap().into_iter().filter_map(|mount| mount.source).collect();
        assert_eq!(sources, ["/w"], "nothing of this machine but the workspace");
        assert_eq!(host.volumes_from.unwrap(), ["c-sidecar:ro"]);
    }
}
