//! What a container is made from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType};

use crate::{Engine, engine::Unmasked, image::Image, profile, user::User};

/// Marks what is ours: the value is the sandbox's id.
const SANDBOX: &str = "dev.chiton.sandbox";
/// Where our things are inside.
pub(crate) const OWN: &str = "/run/chiton";
const PROGRAM: &str = "/run/chiton/chiton";
/// The workspace inside the container; inside the sandbox it is under the same name.
pub(crate) const WORKSPACE: &str = "/workspace";

/// What it is given of this machine.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The sandbox's id.
    pub(crate) id: &'a str,
    /// This program.
    pub(crate) program: PathBuf,
    /// What it is to do.
    pub(crate) command: Vec<String>,
    /// The folder of the user, and the folder with the one socket.
    pub(crate) folders: Option<(&'a Path, &'a Path)>,
    /// The profile as a file, for an engine that reads it from one.
    pub(crate) profile: PathBuf,
}

/// What the first process of a sandbox is to do.
pub(crate) fn supervise() -> Vec<String> {
    vec!["supervisor".to_owned(), format!("{OWN}/hand-over/{}", crate::hand_over::SOCKET)]
}

/// The engine's order: an image's files, our program as the first process, and nothing else.
pub(crate) fn order(engine: &Engine, image: &Image, user: User, given: &Given<'_>) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.id.clone()),
        user: Some(user.to_string()),
        // The image's own start, checks and folder are not the first process's.
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(given.command.clone()),
        healthcheck: image.checked.then(no_check),
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
        // Gone with its first process, also when nobody of ours is there to see it. An examination is read first.
        auto_remove: Some(given.folders.is_some()),
        // A sandbox's output goes over its own links; only an examination is read from the engine.
        log_config: Some(HostConfigLogConfig {
            typ: Some(if given.folders.is_some() { "none" } else { "json-file" }.to_owned()),
            config: None,
        }),
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
    let mut mounts = vec![bind(&given.program, PROGRAM, true)];
    if let Some((workspace, hand_over)) = given.folders {
        mounts.push(bind(workspace, WORKSPACE, false));
        mounts.push(bind(hand_over, &format!("{OWN}/hand-over"), true));
    }
    mounts
}
