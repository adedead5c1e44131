//! The contract, fulfilled.

use std::{
    collections::{BTreeSet, HashMap},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chiton_api::control::{CreateSandbox, LayerReport, SupervisorReply, SupervisorRequest, SupervisorStatus};
use chiton_driver::{
    Capabilities, ComputeDriver, DriverError, DriverName, EnforcementReport, Exit, FilesystemPolicy, Launch,
    LayerCheck, LimitsHit, Link, ProxyConfig, PullStep, Resources, Result, SandboxHandle, SandboxId,
    SandboxSpec,
};

use futures_util::future::join_all;
use tokio::{net::UnixStream, sync::mpsc};

use crate::{
    folder::{Folder, Folders, Whom},
    limits,
    platform::{Platform, Starting},
    process::ProcessId,
    proxy::Proxies,
    records::{Record, Records},
    sockets::Sockets,
    supervisor::{self, Captured},
    wire,
};

/// After the grace of a `stop`, so long the supervisor may take before it is killed.
const STUBBORN: Duration = Duration::from_secs(5);
/// Where a supervisor says nothing for so long, it is asked why.
const SILENCE: Duration = Duration::from_secs(2);
/// When a supervisor that cannot be reached for now is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The status of a program that was killed.
const KILLED: Exit = Exit::of(137);

/// Launches sandboxes of one platform on this host.
#[derive(Debug)]
pub struct HostDriver<P: Platform> {
    platform: P,
    folders: Folders,
    records: Records,
    sockets: Sockets,
    proxies: Arc<Proxies>,
    /// Listeners of sandboxes that wait for their first proxy.
    captured: Mutex<HashMap<SandboxId, Captured>>,
    /// One at a time picks its place and writes it down.
    creating: tokio::sync::Mutex<()>,
    /// What could not be removed, its platform being away.
    left: Mutex<BTreeSet<SandboxId>>,
    /// One at a time removes what is left, and what is in the way of a new sandbox.
    clearing: tokio::sync::Mutex<()>,
}

impl<P: Platform> HostDriver<P> {
    /// A driver whose sandboxes have their folders in `folders`, with their sockets, and their records in `records`; both
    /// are this driver's alone.
    #[must_use]
    pub fn new(platform: P, folders: PathBuf, records: PathBuf, proxies: Arc<Proxies>) -> Self {
        let folders = Folders::new(folders);
        let records = Records::new(records, folders.clone());
        // Where they cannot be listed the gateway will say so: it asks for the same.
        for id in records.all().unwrap_or_default() {
            proxies.adopt(&folders.of(&id));
        }
        let (sockets, captured, creating, left, clearing) = Default::default();
        Self { platform, folders, records, sockets, proxies, captured, creating, left, clearing }
    }

    fn records(&self) -> Result<Vec<Record<P::Place>>> {
        let ids = self.records.all();
        let ids = ids.map_err(|source| DriverError::Io { doing: "cannot list the sandboxes", source })?;
        ids.iter().filter_map(|id| self.record(id).transpose()).collect()
    }

    fn record(&self, id: &SandboxId) -> Result<Option<Record<P::Place>>> {
        let record = self.records.read(id);
        record.map_err(|source| DriverError::Io { doing: "cannot read the sandbox's record", source })
    }

    fn write(&self, record: &Record<P::Place>) -> Result<()> {
        let written = self.records.write(record);
        written.map_err(|source| DriverError::Io { doing: "cannot write the sandbox's record", source })
    }

    fn of(&self, handle: &SandboxHandle) -> Result<Record<P::Place>> {
        self.record(&handle.id)?.ok_or_else(|| DriverError::NotRunning(handle.id.clone()))
    }

    /// Changes what is written down about a sandbox; one change at a time.
    fn update(&self, handle: &SandboxHandle, change: impl FnOnce(&mut Record<P::Place>)) -> Result<()> {
        let _one_at_a_time = self.captured();
        let mut record = self.of(handle)?;
        change(&mut record);
        self.write(&record)
    }

    fn captured(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Captured>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_create(&self, spec: &SandboxSpec, folder: &Folder) -> Result<Captured> {
        let one_at_a_time = self.creating.lock().await;
        let io = |doing| move |source| DriverError::Io { doing, source };
        let others: Vec<_> = self.records()?.into_iter().map(|record| record.place).collect();
        let place = self.platform.place(spec, &others).await?;
        folder.make().map_err(io("cannot make the sandbox's folder"))?;
        let write =
            |place: &P::Place| self.write(&Record { spec: spec.clone(), proxy: None, place: place.clone() });
        write(&place)?;
        let identity = self.platform.identity(&place);
        drop(one_at_a_time);
        let apart = self.platform.is_apart(&place);
        self.platform.start(Starting { folder, spec, place, write: &write }).await?;
        let request = SupervisorRequest::Create(CreateSandbox { name: spec.name.clone(), identity });
        supervisor::captured(self.ask(&spec.id, &request).await?, apart)
    }

    /// Nearly all have their sockets here, and no record is read for them.
    async fn connect(&self, id: &SandboxId, whom: Whom) -> Result<UnixStream> {
        if let Ok(link) = self.sockets.connect(id, &self.folders.of(id), whom) {
            return Ok(link);
        }
        match self.record(id)? {
            Some(record) => self.platform.reach(&record.place, id, whom).await,
            None => Err(DriverError::NotRunning(id.clone())),
        }
    }

    async fn ask(
        &self,
        id: &SandboxId,
        request: &SupervisorRequest,
    ) -> Result<(SupervisorReply, Vec<OwnedFd>)> {
        match supervisor::ask(self.connect(id, Whom::Supervisor).await?, id, request).await {
            Err(DriverError::NotRunning(_)) if !self.is_over(id).await => {
                Err(DriverError::Halted("its supervisor cannot be reached for now: try again".to_owned()))
            }
            answer => answer,
        }
    }

    /// Whether a connection that ended means that its sandbox has.
    async fn is_over(&self, id: &SandboxId) -> bool {
        match self.record(id) {
            Ok(Some(record)) if self.platform.is_apart(&record.place) => {
                self.platform.is_over(&record.place).await
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Has a proxy that is started here enforce.
    async fn attach_here(
        &self,
        handle: &SandboxHandle,
        mut record: Record<P::Place>,
        config: ProxyConfig,
    ) -> Result<()> {
        let kept = self.captured().remove(&handle.id);
        let captured = match kept {
            Some(captured) => captured,
            None => supervisor::captured(self.ask(&handle.id, &SupervisorRequest::Listeners).await?, false)?,
        };
        if let Some(old) = record.proxy.take().and_then(ProcessId::hold) {
            let io = |source| DriverError::Io { doing: "cannot end the sandbox's old proxy", source };
            old.end().await.map_err(io)?;
        }
        let folder = self.folders.of(&handle.id);
        // It may have been taken away.
        folder
            .make()
            .map_err(|source| DriverError::Io { doing: "cannot make the sandbox's folder", source })?;
        // Written down before it knows anything: a gateway after this one ends it.
        let begun = |id| self.update(handle, |record| record.proxy = Some(id));
        self.proxies.enforce(&folder, captured, (&record.spec.proxy_events, config), begun).await
    }

    /// Ends every process of the sandbox, the proxy last: until then nothing gets out that it does not see. It ends
    /// also where the rest cannot be ended: then nothing gets out at all.
    async fn end(&self, record: &Record<P::Place>) -> Result<()> {
        let ended = self.platform.end(&record.place).await;
        let io = |source| DriverError::Io { doing: "cannot end the sandbox's proxy", source };
        if let Some(proxy) = record.proxy.and_then(ProcessId::hold) {
            proxy.ask_to_end().await;
            proxy.end().await.map_err(io)?;
        }
        ended
    }

    /// Removes what could not be removed before. What cannot be now either waits for the next time.
    async fn clear(&self) {
        let left = std::mem::take(&mut *self.left());
        for id in left {
            let handle = SandboxHandle { driver: self.name(), id };
            if let Err(error) = self.destroy_sandbox(&handle).await {
                tracing::warn!(sandbox = %handle.id, %error, "something of a sandbox is still left");
            }
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, BTreeSet<SandboxId>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn simple(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<SupervisorReply> {
        Ok(self.answered(handle, self.ask(&handle.id, request)).await?.0)
    }

    async fn session(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<Link> {
        let mut link = self.connect(&handle.id, Whom::Supervisor).await?;
        let asked = async {
            let answer = wire::ask_soon(&mut link, request).await;
            answer.map_err(|e| supervisor::broken(&e, &handle.id))
        };
        let (reply, _) = self.answered(handle, asked).await?;
        match supervisor::refusal(reply)? {
            SupervisorReply::Launched => Ok(Box::pin(link)),
            _ => Err(supervisor::unexpected()),
        }
    }

    /// The answer of a supervisor, or why there is none.
    async fn answered<T>(
        &self,
        handle: &SandboxHandle,
        asked: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let mut asked = std::pin::pin!(asked);
        if let Ok(answer) = tokio::time::timeout(SILENCE, &mut asked).await {
            return answer;
        }
        let place = self.of(handle)?.place;
        match self.platform.halted(&place).await {
            Some(why) => Err(DriverError::Halted(why)),
            None => asked.await,
        }
    }

    /// A request that is answered by the end of the main program, or by what is written about it.
    async fn until_exit(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<Exit> {
        let record = self.of(handle)?;
        let mut answer = self.ask_for_exit(handle, &record, request).await;
        while matches!(answer, Err(DriverError::NotRunning(_) | DriverError::Halted(_)))
            && self.goes_on(handle, &record).await
        {
            tokio::time::sleep(AGAIN).await;
            answer = self.ask_for_exit(handle, &record, request).await;
        }
        self.platform.written(&record.place).await;
        match answer {
            Err(DriverError::NotRunning(id)) => {
                self.ended(&record, None).await.ok_or(DriverError::NotRunning(id))
            }
            Ok(exit) => Ok(self.ended(&record, Some(exit)).await.unwrap_or(exit)),
            answer => answer,
        }
    }

    async fn ask_for_exit(
        &self,
        handle: &SandboxHandle,
        record: &Record<P::Place>,
        request: &SupervisorRequest,
    ) -> Result<Exit> {
        let mut link = self.connect(&handle.id, Whom::Supervisor).await?;
        let answer = wire::ask(&mut link, request).await;
        let (reply, _) = answer.map_err(|e| supervisor::broken(&e, &handle.id))?;
        match supervisor::refusal(reply)? {
            SupervisorReply::Exited(exit) => {
                drop(link);
                // It ends by itself once every session has the last of the output, or takes no more of it.
                self.platform.settled(&record.place).await;
                Ok(exit)
            }
            _ => Err(supervisor::unexpected()),
        }
    }

    /// Whether only the way to a supervisor broke that is apart: for as long as nothing can be said, that is waited for.
    async fn goes_on(&self, handle: &SandboxHandle, record: &Record<P::Place>) -> bool {
        while self.platform.is_apart(&record.place) {
            match self.status(handle).await {
                Ok(_) => return true,
                Err(DriverError::Halted(_)) => tokio::time::sleep(AGAIN).await,
                Err(_) => return false,
            }
        }
        false
    }

    /// How it ended, with what it ran into.
    async fn ended(&self, record: &Record<P::Place>, told: Option<Exit>) -> Option<Exit> {
        limits::ended(&record.spec, told, self.platform.limits_hit(&record.place).await)
    }

    async fn status(&self, handle: &SandboxHandle) -> Result<SupervisorStatus> {
        match self.simple(handle, &SupervisorRequest::Status).await? {
            SupervisorReply::Status(status) => Ok(status),
            _ => Err(supervisor::unexpected()),
        }
    }
}

#[async_trait]
impl<P: Platform> ComputeDriver for HostDriver<P> {
    fn name(&self) -> DriverName {
        self.platform.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.platform.capabilities()
    }

    fn expect_sandbox(&self) {
        self.platform.expect_sandbox();
    }

    fn has_images(&self) -> bool {
        self.platform.has_images()
    }

    fn check_resources(&self, resources: &Resources) -> Result<()> {
        self.platform.check_resources(resources)
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxHandle> {
        let handle = SandboxHandle { driver: self.name(), id: spec.id.clone() };
        let folder = self.folders.of(&spec.id);
        let one_at_a_time = self.clearing.lock().await;
        if self.record(&spec.id)?.is_some() {
            // A start that was cut short, or the last run of the same sandbox.
            self.destroy_sandbox(&handle).await?;
        }
        self.clear().await;
        drop(one_at_a_time);
        match self.try_create(spec, &folder).await {
            Ok(captured) => {
                self.captured().insert(spec.id.clone(), captured);
                Ok(handle)
            }
            Err(error) => {
                let _ = self.destroy_sandbox(&handle).await;
                Err(error)
            }
        }
    }

    async fn destroy_sandbox(&self, handle: &SandboxHandle) -> Result<()> {
        self.captured().remove(&handle.id);
        if let Some(record) = self.record(&handle.id)? {
            let ended = self.end(&record).await;
            ended.inspect_err(|_| {
                self.left().insert(handle.id.clone());
            })?;
            limits::keep(&record.spec, self.platform.limits_hit(&record.place).await)?;
            self.platform.forget(&record.place).await?;
        }
        self.left().remove(&handle.id);
        // Its record last: whatever is left is found by it.
        let removed = self.folders.of(&handle.id).remove().and_then(|()| self.records.remove(&handle.id));
        self.sockets.forget(&handle.id);
        self.proxies.refill_after_end();
        removed.map_err(|source| DriverError::Io { doing: "cannot remove the sandbox's folder", source })
    }

    async fn attach_network_proxy(&self, handle: &SandboxHandle, config: ProxyConfig) -> Result<()> {
        let record = self.of(handle)?;
        if self.platform.is_apart(&record.place) {
            self.captured().remove(&handle.id);
            self.platform.attach_proxy(&record.place, config).await?;
        } else {
            self.attach_here(handle, record, config).await?;
        }
        match self.simple(handle, &SupervisorRequest::ProxyAttached).await? {
            SupervisorReply::Done => Ok(()),
            _ => Err(supervisor::unexpected()),
        }
    }

    async fn inject_filesystem_policy(&self, handle: &SandboxHandle, policy: FilesystemPolicy) -> Result<()> {
        let record = self.of(handle)?;
        let policy = self.platform.seen_from(&record.place, policy)?;
        let SupervisorReply::Viewed(_) =
            self.simple(handle, &SupervisorRequest::View(Box::new(policy))).await?
        else {
            return Err(supervisor::unexpected());
        };
        let mut viewed = Ok(());
        self.update(handle, |record| viewed = self.platform.viewed(&mut record.place))?;
        viewed
    }

    async fn start(&self, handle: &SandboxHandle, launch: &Launch) -> Result<Link> {
        let record = self.of(handle)?;
        let launch = self.platform.launched(&record.place, launch);
        self.session(handle, &SupervisorRequest::Launch(launch)).await
    }

    async fn attach(&self, handle: &SandboxHandle) -> Result<Link> {
        self.session(handle, &SupervisorRequest::Attach).await
    }

    async fn wait(&self, handle: &SandboxHandle) -> Result<Exit> {
        self.until_exit(handle, &SupervisorRequest::Wait).await
    }

    async fn stop(&self, handle: &SandboxHandle, grace: Duration) -> Result<Exit> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = SupervisorRequest::Stop { grace_ms };
        let asked = tokio::time::timeout(grace.saturating_add(STUBBORN), self.until_exit(handle, &request));
        if let Ok(answer) = asked.await {
            return answer;
        }
        let record = self.of(handle)?;
        self.platform.end(&record.place).await?;
        Ok(self.ended(&record, None).await.unwrap_or(KILLED))
    }

    async fn signal(&self, handle: &SandboxHandle, signal: i32) -> Result<()> {
        match self.simple(handle, &SupervisorRequest::Signal(signal)).await? {
            SupervisorReply::Done => Ok(()),
            _ => Err(supervisor::unexpected()),
        }
    }

    async fn report(&self, handle: &SandboxHandle) -> Result<EnforcementReport> {
        let record = self.of(handle)?;
        let report = self.status(handle).await?.report;
        let mut report = report.ok_or_else(|| DriverError::NotRunning(handle.id.clone()))?;
        report.layers.splice(0..0, self.platform.layer(&record.place));
        let detail = limits::shown(&record.spec.resources, &self.platform.keeper(&record.place));
        report.layers.push(LayerReport { layer: "resources".into(), enforced: true, detail });
        Ok(report)
    }

    async fn limits_hit(&self, handle: &SandboxHandle) -> Result<LimitsHit> {
        let record = self.of(handle)?;
        Ok(self.platform.limits_hit(&record.place).await)
    }

    async fn proxy_link(&self, handle: &SandboxHandle) -> Result<Link> {
        Ok(Box::pin(self.connect(&handle.id, Whom::Proxy).await?))
    }

    async fn examine(&self) -> Result<Vec<LayerCheck>> {
        self.platform.examine().await
    }

    async fn pull(&self, image: &str, told: mpsc::Sender<PullStep>) -> Result<()> {
        self.platform.pull(image, &told).await
    }

    async fn list(&self) -> Result<Vec<SandboxHandle>> {
        let all = self.records.all();
        let all = all.map_err(|source| DriverError::Io { doing: "cannot list the sandboxes", source })?;
        let handles: Vec<_> = all.into_iter().map(|id| SandboxHandle { driver: self.name(), id }).collect();
        // All at once: one that says nothing is not waited for by the others.
        let statuses = join_all(handles.iter().map(|handle| self.status(handle))).await;
        let mut running = Vec::new();
        for (handle, status) in handles.into_iter().zip(statuses) {
            match status {
                Ok(_) | Err(DriverError::Halted(_)) => running.push(handle),
                Err(error) => {
                    tracing::info!(sandbox = %handle.id, %error, "removing what is left of a sandbox");
                    // The others run whether or not this one can be removed now.
                    if let Err(error) = self.destroy_sandbox(&handle).await {
                        tracing::error!(sandbox = %handle.id, %error, "something of a sandbox is left");
                    }
                }
            }
        }
        Ok(running)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chiton_driver::{LayerCheck, SandboxSpec};

    use super::*;
    use crate::records::tests::spec;

    /// Whose sandboxes cannot be ended.
    #[derive(Debug)]
    struct Stuck;

    #[async_trait]
    impl Platform for Stuck {
        type Place = HashMap<String, u8>;

        fn name(&self) -> DriverName {
            DriverName::Docker
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

        fn check_resources(&self, _resources: &Resources) -> Result<()> {
            Ok(())
        }

        async fn place(&self, _spec: &SandboxSpec, _others: &[Self::Place]) -> Result<Self::Place> {
            Ok(HashMap::new())
        }

        async fn start(&self, _starting: Starting<'_, Self::Place>) -> Result<()> {
            Ok(())
        }

        fn identity(&self, _place: &Self::Place) -> chiton_api::control::Identity {
            chiton_api::control::Identity::Caller
        }

        async fn examine(&self) -> Result<Vec<LayerCheck>> {
            Ok(Vec::new())
        }

        async fn settled(&self, _place: &Self::Place) {}

        async fn end(&self, _place: &Self::Place) -> Result<()> {
            Err(DriverError::Unsupported("the engine does not answer".to_owned()))
        }
    }

    #[tokio::test]
    async fn what_runs_is_known_though_a_leftover_cannot_be_removed() {
        let runtime = tempfile::tempdir().unwrap();
        let sandboxes = runtime.path().join("sandboxes");
        let proxies = Proxies::ahead(Path::new("/bin/true"), runtime.path());
        let driver = HostDriver::new(Stuck, sandboxes.clone(), runtime.path().join("records"), proxies);
        let mut runs = None;
        for n in 0..8 {
            let id = SandboxId::try_from(format!("01jdx0000000000000000000{n:02}")).unwrap();
            let folder = Folder::at(sandboxes.join(id.as_str()));
            folder.make().unwrap();
            driver.write(&Record { spec: spec(&id), proxy: None, place: HashMap::new() }).unwrap();
            if n == 4 {
                let listener = folder.listen(crate::folder::SUPERVISOR).unwrap();
                listener.set_nonblocking(true).unwrap();
                runs = Some((id, tokio::net::UnixListener::from_std(listener).unwrap()));
            }
        }
        let (id, listener) = runs.unwrap();
        let supervisor = async {
            let (mut link, _) = listener.accept().await.unwrap();
            wire::receive::<SupervisorRequest>(&mut link).await.unwrap();
            let status = SupervisorStatus { report: None, started: true, exit: None };
            wire::send(&mut link, &SupervisorReply::Status(status), &[]).await.unwrap();
        };
        let (listed, ()) = tokio::join!(driver.list(), supervisor);
        assert_eq!(listed.unwrap().into_iter().map(|handle| handle.id).collect::<Vec<_>>(), [id]);
    }
}
