//! `chiton doctor --driver docker|podman`: every layer, tried by this program as the first process of a container
//! that is made as a sandbox's is, of an image without any file.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use bollard::{
    Docker, body_full,
    container::LogOutput,
    query_parameters::{CreateImageOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder},
};
use chiton_driver::{DriverError, LayerCheck, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use crate::{
    Container,
    client::failed,
    container::{self, Brought, Given},
    image::{self, Image},
    sidecar::archive,
    user::User,
};

/// The image without files.
const EMPTY: &str = "chiton-doctor";
/// Nobody's id: for the gateway of root, which is not an ordinary user.
const NOBODY: User = User { uid: 65534, gid: 65534 };
/// The label's value, and how a container of an examination is called before its gateway's number.
const DOCTOR: &str = "doctor";
const NAME: &str = "chiton-doctor-";
/// How long the examination may take in the container.
const PATIENCE: Duration = Duration::from_secs(60);
/// Podman has a word of its own, `stopped`, which Docker's interface has not, for a container that has just ended: its
/// list cannot be read then. So often it is asked again, and so long after.
const UNSETTLED: u32 = 20;
const SOON: Duration = Duration::from_millis(100);
/// An archive without entries.
const NO_FILES: &[u8] = &[0; 1024];

/// What `chiton doctor --json` prints, as far as it is passed on.
#[derive(Debug, Deserialize)]
struct Printed {
    checks: Vec<LayerCheck>,
}

pub(crate) async fn examine(driver: &Container) -> Result<Vec<LayerCheck>> {
    let engine = &driver.client.engine;
    let known = match driver.client.get().await {
        Ok(known) => known,
        Err(error) => return Ok(vec![no_engine(&error, engine.mend())]),
    };
    let docker = &known.docker;
    let image = empty_image(driver, docker).await?;
    let apart = engine.sidecar;
    let brought = if apart { Brought::Volume } else { driver.mounted(None)? };
    let command = vec!["doctor".to_owned(), "--json".to_owned()];
    let given = Given { command, ..driver.given(DOCTOR, brought)? };
    let user = User::own().unwrap_or(NOBODY);
    let order = container::order(engine, &image, user, &given)?;
    remove_left(driver, docker).await?;
    // Each its own: two at a time are not in each other's way.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("{NAME}{}-{}", std::process::id(), now.as_nanos());
    let id = driver.client.create(&known, &name, order).await?;
    if apart && let Err(error) = archive::bring(&driver.client, &known, &id, (DOCTOR, user)).await {
        driver.client.remove(docker, &id).await?;
        return Err(error);
    }
    let late =
        || DriverError::Unsupported("the examination in the container does not come to its end".to_owned());
    let printed =
        tokio::time::timeout(PATIENCE, run(driver, docker, &id)).await.unwrap_or_else(|_| Err(late()));
    driver.client.remove(docker, &id).await?;
    let mut checks = vec![LayerCheck {
        layer: "engine".to_owned(),
        works: true,
        required: true,
        found: format!("{}, user {user} of the host in its containers", known.about),
        mend: None,
    }];
    checks.extend(read(&printed?)?);
    Ok(checks)
}

/// Removes the containers of examinations whose gateway is gone.
async fn remove_left(driver: &Container, docker: &Docker) -> Result<()> {
    let label = format!("{}={DOCTOR}", container::SANDBOX);
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let mut again = 0..UNSETTLED;
    let found = loop {
        let found = docker.list_containers(Some(options.clone())).await;
        if found.is_ok() || again.next().is_none() {
            break found;
        }
        tokio::time::sleep(SOON).await;
    };
    for container in found.map_err(failed(&driver.client.engine, "list its containers"))? {
        let names = container.names.unwrap_or_default();
        if let (Some(id), true) = (container.id, names.iter().any(|name| is_left(name))) {
            driver.client.remove(docker, &id).await?;
        }
    }
    Ok(())
}

fn is_left(name: &str) -> bool {
    let gateway = name.trim_start_matches('/').strip_prefix(NAME).and_then(|rest| rest.split('-').next());
    // One that ended and that nobody has asked after yet has no command line any more.
    let lives = |number| {
        let line = fs::read(Path::new("/proc").join(number).join("cmdline"));
        line.is_ok_and(|line| !line.is_empty())
    };
    gateway.is_some_and(|number| number.parse::<u32>().is_ok() && !lives(number))
}

fn no_engine(error: &DriverError, mend: &str) -> LayerCheck {
    LayerCheck {
        layer: "engine".to_owned(),
        works: false,
        required: true,
        found: error.to_string(),
        mend: Some(mend.to_owned()),
    }
}

pub(crate) async fn empty_image(driver: &Container, docker: &Docker) -> Result<Image> {
    let engine = &driver.client.engine;
    let name = format!("{EMPTY}:latest");
    // One that was brought before; another of that name loses it.
    let found = docker.inspect_image(&name).await;
    if found.is_ok_and(|found| found.size == Some(0))
        && let Ok(image) = image::look_up(docker, engine, &name).await
        && (&image.env, &image.volumes, &image.user) == (&vec![], &vec![], &None)
    {
        return Ok(image);
    }
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(EMPTY).tag("latest").build();
    let archive = body_full(bytes::Bytes::from_static(NO_FILES));
    let made = docker.create_image(Some(options), Some(archive), None).try_collect::<Vec<_>>().await;
    made.map_err(failed(engine, "import an image without files"))?;
    image::look_up(docker, engine, &name).await
}

/// Runs the container to its end; says what it printed.
async fn run(driver: &Container, docker: &Docker, id: &str) -> Result<Vec<u8>> {
    let engine = &driver.client.engine;
    docker.start_container(id, None).await.map_err(failed(engine, "start a container"))?;
    // Its status says only whether everything works, which its words say too.
    let _ = std::pin::pin!(docker.wait_container(id, None)).next().await;
    let options = LogsOptionsBuilder::default().stdout(true).build();
    let pieces = docker.logs(id, Some(options)).try_collect::<Vec<LogOutput>>().await;
    let pieces = pieces.map_err(failed(engine, "say what a container printed"))?;
    Ok(pieces.into_iter().flat_map(LogOutput::into_bytes).collect())
}

fn read(printed: &[u8]) -> Result<Vec<LayerCheck>> {
    let Printed { checks } = serde_json::from_slice(printed).map_err(|_| {
        let said = String::from_utf8_lossy(printed);
        let said = if said.trim().is_empty() { "nothing" } else { said.trim() };
        DriverError::Unsupported(format!("the examination in the container did not run: it printed {said}"))
    })?;
    // What belongs to the host's own driver says nothing of containers.
    Ok(checks.into_iter().filter(|check| check.layer != "control_groups").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_gateway_left_that_is_gone_is_removed() {
        let mut ended = std::process::Command::new("/bin/true").spawn().unwrap();
        let _ = ended.wait();
        assert!(is_left(&format!("/chiton-doctor-{}-17", ended.id())));
        assert!(!is_left(&format!("/chiton-doctor-{}-17", std::process::id())));
        assert!(!is_left("/chiton-doctor-") && !is_left("/chiton-doctor-x-1") && !is_left("/other-1-1"));
    }
}
