//! What a container is made from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType};

use crate::{Engine, Place, engine::Unmasked, profile};

/// Marks what is ours: the value is the sandbox's id.
pub(crate) const SANDBOX: &str = "dev.chiton.sandbox";
/// Where our things are inside.
pub(crate) const OWN: &str = "/run/chiton";
/// The workspace inside the container; inside the sandbox it is under the same name.
pub(crate) const WORKSPACE: &str = "/workspace";

/// What it is given of this machine.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The sandbox's id.
    pub(crate) id: &'a str,
    /// The folder of the user.
    pub(crate) workspace: &'a Path,
    /// This program.
    pub(crate) program: PathBuf,
    /// The folder with the one socket.
    pub(crate) hand_over: PathBuf,
    /// The profile as a file, for an engine that reads it from one.
    pub(crate) profile: PathBuf,
}

/// The engine's order: an image's files, our program as the first process, and nothing else.
pub(crate) fn order(engine: &Engine, place: &Place, given: &Given<'_>) -> ContainerCreateBody {
    let program = format!("{OWN}/chiton");
    let socket = format!("{OWN}/hand-over/{}", crate::hand_over::SOCKET);
    ContainerCreateBody {
        image: Some(place.image.id.clone()),
        user: Some(place.user.to_string()),
        // The image's own start, checks and folder are not the first process's.
        entrypoint: Some(vec![program]),
        cmd: Some(vec!["supervisor".to_owned(), socket]),
        healthcheck: place.image.checked.then(no_check),
        working_dir: Some("/".to_owned()),
        network_disabled: Some(true),
        labels: Some(HashMap::from([(SANDBOX.to_owned(), given.id.to_owned())])),
        host_config: Some(host(engine, given)),
        ..ContainerCreateBody::default()
    }
}

fn no_check() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }
}

fn host(engine: &Engine, given: &Given<'_>) -> HostConfig {
    let profile = if engine.takes_profile_as_text() {
        profile::text()
    } else {
        given.profile.to_string_lossy().into_owned()
    };
    // The supervisor mounts the sandbox's view in a namespace of its own: profiles for containers, which forbid all
    // mounting, stand in the way. What they are for, Landlock and seccomp do inside.
    let mut options = vec![
        format!("seccomp={profile}"),
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
    HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        privileged: Some(false),
        security_opt: Some(options),
        masked_paths: lists.clone(),
        readonly_paths: lists,
        userns_mode: Some(engine.user_namespace()),
        ipc_mode: Some("private".to_owned()),
        mounts: Some(mounts(given)),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

fn mounts(given: &Given<'_>) -> Vec<Mount> {
    let bind = |source: &Path, target: &str, read_only| Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    vec![
        bind(given.workspace, WORKSPACE, false),
        bind(&given.program, &format!("{OWN}/chiton"), true),
        bind(&given.hand_over, &format!("{OWN}/hand-over"), true),
    ]
}
