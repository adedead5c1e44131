//! `chiton doctor --driver docker|podman`: every layer, tried by this program as the first process of a container
//! that is made as a sandbox's is, of an image without any file.

use std::time::SystemTime;

use bollard::{
    Docker, body_full,
    container::LogOutput,
    query_parameters::{CreateImageOptionsBuilder, LogsOptionsBuilder},
};
use chiton_driver::{DriverError, LayerCheck, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use crate::{
    Container,
    client::failed,
    container::{self, Given},
    image::{self, Image},
    user::User,
};

/// The image without files.
const EMPTY: &str = "chiton-doctor";
/// Nobody's id: for the gateway of root, which is not an ordinary user.
const NOBODY: User = User { uid: 65534, gid: 65534 };
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
    let given = Given { command: vec!["doctor".to_owned(), "--json".to_owned()], ..driver.given("doctor")? };
    let user = User::own().unwrap_or(NOBODY);
    let order = container::order(engine, &image, user, &given)?;
    // Each its own: two at a time, or one that an earlier gateway left, are not in each other's way.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("chiton-doctor-{}-{}", std::process::id(), now.as_nanos());
    let id = driver.client.create(docker, &name, order).await?;
    let printed = run(driver, docker, &id).await;
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

fn no_engine(error: &DriverError, mend: &str) -> LayerCheck {
    LayerCheck {
        layer: "engine".to_owned(),
        works: false,
        required: true,
        found: error.to_string(),
        mend: Some(mend.to_owned()),
    }
}

async fn empty_image(driver: &Container, docker: &Docker) -> Result<Image> {
    let engine = &driver.client.engine;
    // One that an earlier examination brought.
    if let Ok(image) = image::look_up(docker, engine, &format!("{EMPTY}:latest")).await {
        return Ok(image);
    }
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(EMPTY).tag("latest").build();
    let archive = body_full(bytes::Bytes::from_static(NO_FILES));
    let made = docker.create_image(Some(options), Some(archive), None).try_collect::<Vec<_>>().await;
    made.map_err(failed(engine, "import an image without files"))?;
    image::look_up(docker, engine, &format!("{EMPTY}:latest")).await
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
