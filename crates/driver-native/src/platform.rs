//! The supervisor as a process of this host, in a session of its own with exactly the descriptors that it shall
//! have.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use chiton_api::control::Identity;
use chiton_confine::cgroup::Group;
use chiton_driver::{
    Capabilities, DriverError, DriverName, LayerCheck, LimitsHit, Resources, Result, SandboxSpec,
};
use chiton_driver_host::{Platform, ProcessId, Starting};
use serde::{Deserialize, Serialize};

use crate::{cgroup, host_id::host_id, supervisors::Supervisors};

/// How long the outer supervisor may write its last events once init is gone.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Starts supervisors on this host.
#[derive(Debug)]
pub struct Native {
    supervisors: Supervisors,
}

impl Native {
    /// The `chiton` that is started; `/proc/self/exe` for this very one.
    pub(crate) fn of(executable: &Path) -> Self {
        Self { supervisors: Supervisors::of(executable) }
    }
}

/// A sandbox's processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// Its id on the host, where it has one of its own.
    host_id: Option<u32>,
    /// Its outer supervisor.
    supervisor: Option<ProcessId>,
    /// The first process inside, once the view stands.
    init: Option<ProcessId>,
    /// Its control group, where it needs one.
    #[serde(default)]
    group: Option<Group>,
}

#[async_trait]
impl Platform for Native {
    type Place = Place;

    fn name(&self) -> DriverName {
        DriverName::Native
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            live_denied_paths: true,
            transparent_capture: true,
            resources: cgroup::keeps_all(),
            gpu: false,
            images: false,
        }
    }

    fn has_images(&self) -> bool {
        false
    }

    fn check_resources(&self, resources: &Resources) -> Result<()> {
        cgroup::check(resources)
    }

    async fn place(&self, spec: &SandboxSpec, others: &[Place]) -> Result<Place> {
        if !spec.gpu.is_none() {
            let text = "`static.gpu` cannot be given by the driver `native`: leave it out of the policy";
            return Err(DriverError::Unsupported(text.to_owned()));
        }
        if let Some(image) = &spec.image {
            let text = format!("the driver `native` has no images: leave `{image}` out");
            return Err(DriverError::Unsupported(text));
        }
        let host_id = rustix::process::geteuid().is_root().then(|| {
            let taken: Vec<u32> = others.iter().filter_map(|place| place.host_id).collect();
            host_id(&spec.id, &taken)
        });
        Ok(Place { host_id, group: cgroup::plan(spec)?, ..Place::default() })
    }

    async fn start(&self, mut starting: Starting<'_, Place>) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot start the sandbox's supervisor", source };
        let papers = starting.papers()?;
        cgroup::make(starting.place.group.as_ref())?;
        // Until it is given its papers it ends by itself, whatever fails here.
        let supervisor = self.supervisors.take().await.map_err(io)?;
        starting.place.supervisor = Some(supervisor.id());
        starting.keep()?;
        // Before it is asked for namespaces, so that the one of control groups begins there.
        cgroup::join(starting.place.group.as_ref(), supervisor.id())?;
        supervisor.give(&papers).map_err(io)
    }

    fn expect_sandbox(&self) {
        self.supervisors.begin();
    }

    fn identity(&self, place: &Place) -> Identity {
        place.host_id.map_or(Identity::Caller, |host_id| Identity::Mapped { host_id })
    }

    fn viewed(&self, place: &mut Place) -> Result<()> {
        place.init = place.supervisor.and_then(|outer| outer.children().first().copied());
        cgroup::join_inside(place.group.as_ref(), place.init)
    }

    fn keeper(&self, place: &Place) -> String {
        cgroup::keeper(place.group.as_ref())
    }

    async fn limits_hit(&self, place: &Place) -> LimitsHit {
        cgroup::hits(place.group.as_ref())
    }

    async fn examine(&self) -> Result<Vec<LayerCheck>> {
        let text = "the native driver is examined where it is asked: `chiton doctor`";
        Err(DriverError::Unsupported(text.to_owned()))
    }

    async fn settled(&self, place: &Place) {
        if let Some(init) = place.init.and_then(ProcessId::hold) {
            let _ = init.ended().await;
        }
    }

    /// Init goes first, and with it everything inside; the outer supervisor then writes its last events and ends.
    async fn end(&self, place: &Place) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot end the sandbox's processes", source };
        // Before the view stands init is not written down.
        let children = place.supervisor.map(ProcessId::children).unwrap_or_default();
        let inside: Vec<_> = children.into_iter().chain(place.init).filter_map(ProcessId::hold).collect();
        for held in &inside {
            held.kill().map_err(io)?;
        }
        if let Some(outer) = place.supervisor.and_then(ProcessId::hold) {
            if place.init.is_some() {
                let _ = tokio::time::timeout(LAST_EVENTS, outer.ended()).await;
            }
            outer.end().await.map_err(io)?;
        }
        for held in inside {
            held.end().await.map_err(io)?;
        }
        Ok(())
    }

    async fn forget(&self, place: &Place) -> Result<()> {
        cgroup::remove(place.group.as_ref()).await
    }
}
