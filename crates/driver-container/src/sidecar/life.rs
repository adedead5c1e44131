//! A sandbox with a sidecar, from its start to its end.

use chiton_api::ordered::Ordered;
use chiton_driver::{DriverError, Result};
use chiton_driver_host::Starting;
use futures_util::StreamExt as _;

use super::{
    Until, archive,
    near::{self, Sidecar},
    order,
};
use crate::{
    client::{Known, failed},
    container::Brought,
    examine,
    platform::{Container, DEATH, Place},
    user::User,
    workspace::Workspace,
};

impl Container {
    /// Makes the sidecar first, which gives what the supervisor holds.
    pub(crate) async fn start_beside(
        &self,
        known: &Known,
        starting: &mut Starting<'_, Place>,
        sidecar: &Sidecar,
    ) -> Result<()> {
        let (client, docker) = (&self.client, &known.docker);
        if !sidecar.files.fit() {
            return Err(DriverError::Unsupported(
                "the events of its earlier starts do not fit into a sidecar: make another sandbox".to_owned(),
            ));
        }
        let begun = sidecar.files.begin();
        begun.map_err(|source| DriverError::Io { doing: "cannot open the sandbox's files", source })?;
        let image = examine::empty_image(self, docker).await?;
        let order = order::order(&starting.place.sandbox, &image, starting.place.user);
        client.create(known, &sidecar.container, order).await?;
        let whose = (starting.place.sandbox.as_str(), starting.place.user);
        archive::bring(client, known, &sidecar.container, whose).await?;
        let id = self.create(known, &starting.place, Brought::Beside(sidecar.container.clone())).await?;
        starting.place.container = Some(id.clone());
        starting.keep()?;
        sidecar.start(client, known).await?;
        let mut link = sidecar.begin_sandbox(client, &starting.place.places().hand_over()).await?;
        docker.start_container(&id, None).await.map_err(failed(&client.engine, "start the container"))?;
        let mut ended = std::pin::pin!(docker.wait_container(&id, None));
        let mut given = std::pin::pin!(near::answer(&mut link));
        let reply = tokio::select! {
            reply = &mut given => reply,
            // It may have told why.
            end = ended.next() => match tokio::time::timeout(DEATH, given).await {
                Ok(Err(error @ DriverError::Unsupported(_))) => Err(error),
                _ => Err(self.ended_early(end)),
            },
        };
        reply?;
        // Which folder the engine has mounted cannot be seen from here; whether it is still the one at the path can.
        match Workspace::at(&starting.place.workspace.path) {
            Ok((now, _)) if now == starting.place.workspace => Ok(()),
            _ => Err(DriverError::Unsupported(
                "the workspace was replaced while the container started: try again".to_owned(),
            )),
        }
    }

    /// The sandbox first, then the proxy with what it has left to write, then the rest.
    pub(crate) async fn end_beside(&self, known: &Known, place: &Place, sidecar: &Sidecar) -> Result<()> {
        let removed = self.client.remove(&known.docker, place.own_container()).await;
        sidecar.take(&self.client, Until::Ended).await;
        self.followers.end(&sidecar.sandbox);
        sidecar.remove(&self.client, known).await?;
        removed
    }
}

/// What the supervisor is to find of itself.
pub(crate) fn ordered(place: &Place) -> String {
    let (User { uid, gid }, resources) = (place.user, &place.resources);
    let places = place.places();
    let ordered = Ordered {
        uid,
        gid,
        memory: resources.memory,
        cpus: resources.cpu_millis.is_some(),
        mounts: place.image.volumes.iter().cloned().chain([places.given(), places.workspace()]).collect(),
    };
    serde_json::to_string(&ordered).unwrap_or_default()
}
