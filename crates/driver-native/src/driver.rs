//! The contract, fulfilled.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chiton_api::control::{SupervisorReply, SupervisorRequest, SupervisorStatus};
use chiton_driver::{
    Capabilities, ComputeDriver, DriverError, DriverName, EnforcementReport, Exit, FilesystemPolicy, Launch,
    Link, ProxyConfig, Result, SandboxHandle, SandboxId, SandboxSpec,
};

use crate::{
    folder::{self, Folder, Folders, PROXY, Record},
    host_id::host_id,
    process::ProcessId,
    proxy::{AttachError, Proxies},
    supervisor::{self, Captured},
    wire,
};

/// After the grace of a `stop`, so long the supervisor may take before it is killed.
const STUBBORN: Duration = Duration::from_secs(5);
/// How long the outer supervisor may write its last events once init is gone.
const LAST_EVENTS: Duration = Duration::from_secs(1);
/// The status of a program that was killed.
const KILLED: Exit = Exit { code: 137 };

/// Where and with what the driver works.
#[derive(Clone, Debug)]
pub struct NativeConfig {
    /// The runtime directory, mode 0700.
    pub runtime: PathBuf,
    /// The `chiton` that is started as supervisor and proxy; `/proc/self/exe` for this very one.
    pub executable: PathBuf,
}

/// Launches sandboxes on this host.
#[derive(Debug)]
pub struct NativeDriver {
    config: NativeConfig,
    folders: Folders,
    proxies: Arc<Proxies>,
    /// Listeners of sandboxes that wait for their first proxy.
    captured: Mutex<HashMap<SandboxId, Captured>>,
    /// One at a time picks its id and writes it down.
    creating: tokio::sync::Mutex<()>,
}

impl NativeDriver {
    /// A driver, and a first proxy ahead. In a tokio runtime.
    #[must_use]
    pub fn new(config: NativeConfig) -> Self {
        let proxies = Arc::new(Proxies::new(&config.executable, &config.runtime));
        proxies.clear_leftovers();
        let folders = Folders::new(&config.runtime);
        let driver = Self {
            config,
            folders,
            proxies,
            captured: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
        };
        driver.refill();
        driver
    }

    /// Starts the next proxy ahead, in the background. A failure shows when one is needed.
    fn refill(&self) {
        let proxies = Arc::clone(&self.proxies);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = proxies.refill() {
                tracing::warn!(%error, "cannot start a proxy ahead");
            }
        });
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let ids = self.folders.all().unwrap_or_default();
        ids.into_iter().filter_map(|id| self.folders.of(&id).record())
    }

    fn of(&self, handle: &SandboxHandle) -> Result<(Folder, Record)> {
        let folder = self.folders.of(&handle.id);
        let record = folder.record().ok_or_else(|| DriverError::NotRunning(handle.id.clone()))?;
        Ok((folder, record))
    }

    /// Changes what is written down about a sandbox; one change at a time.
    fn update(&self, handle: &SandboxHandle, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _one_at_a_time = self.captured();
        let (folder, mut record) = self.of(handle)?;
        change(&mut record);
        let io = |source| DriverError::Io { doing: "cannot write the sandbox's record", source };
        folder.write_record(&record).map_err(io)
    }

    fn captured(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Captured>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_create(&self, spec: &SandboxSpec, folder: &Folder) -> Result<Captured> {
        let one_at_a_time = self.creating.lock().await;
        let io = |source| DriverError::Io { doing: "cannot make the sandbox's folder", source };
        let host_id = rustix::process::geteuid().is_root().then(|| {
            let taken: Vec<u32> = self.records().filter_map(|record| record.host_id).collect();
            host_id(&spec.id, &taken)
        });
        folder.make().map_err(io)?;
        let mut record = Record { spec: spec.clone(), host_id, supervisor: None, init: None, proxy: None };
        folder.write_record(&record).map_err(io)?;
        supervisor::start(&self.config.executable, folder, &mut record)?;
        drop(one_at_a_time);
        supervisor::create(folder, spec, host_id).await
    }

    /// Ends every process of the sandbox, the proxy last: until then nothing gets out that it does not see. Init
    /// goes first, and with it everything inside; the outer supervisor then writes its last events and ends.
    async fn end(record: &Record) -> Result<()> {
        let io = |source| DriverError::Io { doing: "cannot end the sandbox's processes", source };
        // Before the view stands init is not written down.
        let children = record.supervisor.map(ProcessId::children).unwrap_or_default();
        let inside: Vec<_> = children.into_iter().chain(record.init).filter_map(ProcessId::hold).collect();
        for held in &inside {
            held.kill().map_err(io)?;
        }
        if let Some(outer) = record.supervisor.and_then(ProcessId::hold) {
            if record.init.is_some() {
                let _ = tokio::time::timeout(LAST_EVENTS, outer.ended()).await;
            }
            outer.end().await.map_err(io)?;
        }
        for held in inside {
            held.end().await.map_err(io)?;
        }
        match record.proxy.and_then(ProcessId::hold) {
            Some(proxy) => {
                proxy.ask_to_end().await;
                proxy.end().await.map_err(io)
            }
            None => Ok(()),
        }
    }

    async fn simple(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<SupervisorReply> {
        let folder = self.folders.of(&handle.id);
        Ok(supervisor::ask(&folder, &handle.id, request).await?.0)
    }

    async fn session(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<Link> {
        let mut link = supervisor::connect(&self.folders.of(&handle.id), &handle.id).await?;
        let answer = wire::ask_soon(&mut link, request).await;
        let (reply, _) = answer.map_err(|e| supervisor::broken(&e, &handle.id))?;
        match supervisor::refusal(reply)? {
            SupervisorReply::Launched => Ok(Box::pin(link)),
            _ => Err(supervisor::unexpected()),
        }
    }

    /// A request that is answered by the end of the main program, or by what is written about it.
    async fn until_exit(&self, handle: &SandboxHandle, request: &SupervisorRequest) -> Result<Exit> {
        let (folder, record) = self.of(handle)?;
        let asked = async {
            let mut link = supervisor::connect(&folder, &handle.id).await?;
            let answer = wire::ask(&mut link, request).await;
            let (reply, _) = answer.map_err(|e| supervisor::broken(&e, &handle.id))?;
            match supervisor::refusal(reply)? {
                SupervisorReply::Exited(exit) => {
                    drop(link);
                    // It ends by itself once every session has the last of the output, or takes no more of it.
                    if let Some(init) = record.init.and_then(ProcessId::hold) {
                        let _ = init.ended().await;
                    }
                    Ok(exit)
                }
                _ => Err(supervisor::unexpected()),
            }
        };
        match asked.await {
            Err(DriverError::NotRunning(id)) => {
                supervisor::written_exit(&record.spec).ok_or(DriverError::NotRunning(id))
            }
            answer => answer,
        }
    }

    async fn status(&self, handle: &SandboxHandle) -> Result<SupervisorStatus> {
        match self.simple(handle, &SupervisorRequest::Status).await? {
            SupervisorReply::Status(status) => Ok(status),
            _ => Err(supervisor::unexpected()),
        }
    }
}

#[async_trait]
impl ComputeDriver for NativeDriver {
    fn name(&self) -> DriverName {
        DriverName::Native
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { live_denied_paths: true, transparent_capture: true, resources: false, gpu: false }
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxHandle> {
        let handle = SandboxHandle { driver: DriverName::Native, id: spec.id.clone() };
        let folder = self.folders.of(&spec.id);
        if folder.record().is_some() {
            // A start that was cut short, or the last run of the same sandbox.
            self.destroy_sandbox(&handle).await?;
        }
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
        let folder = self.folders.of(&handle.id);
        if let Some(record) = folder.record() {
            Self::end(&record).await?;
        }
        folder
            .remove()
            .map_err(|source| DriverError::Io { doing: "cannot remove the sandbox's folder", source })
    }

    async fn attach_network_proxy(&self, handle: &SandboxHandle, mut config: ProxyConfig) -> Result<()> {
        let (folder, mut record) = self.of(handle)?;
        let io = |doing| move |source| DriverError::Io { doing, source };
        let kept = self.captured().remove(&handle.id);
        let captured = match kept {
            Some(captured) => captured,
            None => supervisor::listeners(&folder, &handle.id).await?,
        };
        if let Some(old) = record.proxy.take().and_then(ProcessId::hold) {
            old.end().await.map_err(io("cannot end the sandbox's old proxy"))?;
        }
        let events = folder::append_to(&record.spec.proxy_events);
        let events = events.map_err(io("cannot open the sandbox's event file"))?;
        config.listeners = captured.listeners;
        let mut descriptors = captured.descriptors;
        descriptors.push(events.into());
        let spare = self.proxies.take().map_err(io("cannot start the sandbox's proxy"))?;
        // Written down before it knows anything: a gateway after this one ends it.
        self.update(handle, |record| record.proxy = Some(spare.id()))?;
        let enforcing = spare.attach(&folder, config, &descriptors).await;
        self.refill();
        enforcing.map_err(|error| match error {
            AttachError::Io(doing, source) => DriverError::Io { doing, source },
            AttachError::Refused(failure) => failure.into(),
        })?;
        match self.simple(handle, &SupervisorRequest::ProxyAttached).await? {
            SupervisorReply::Done => Ok(()),
            _ => Err(supervisor::unexpected()),
        }
    }

    async fn inject_filesystem_policy(&self, handle: &SandboxHandle, policy: FilesystemPolicy) -> Result<()> {
        let SupervisorReply::Viewed(_) =
            self.simple(handle, &SupervisorRequest::View(Box::new(policy))).await?
        else {
            return Err(supervisor::unexpected());
        };
        self.update(handle, |record| {
            record.init = record.supervisor.and_then(|outer| outer.children().first().copied());
        })
    }

    async fn start(&self, handle: &SandboxHandle, launch: &Launch) -> Result<Link> {
        self.session(handle, &SupervisorRequest::Launch(launch.clone())).await
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
        let (_, record) = self.of(handle)?;
        Self::end(&Record { proxy: None, ..record.clone() }).await?;
        Ok(supervisor::written_exit(&record.spec).unwrap_or(KILLED))
    }

    async fn signal(&self, handle: &SandboxHandle, signal: i32) -> Result<()> {
        match self.simple(handle, &SupervisorRequest::Signal(signal)).await? {
            SupervisorReply::Done => Ok(()),
            _ => Err(supervisor::unexpected()),
        }
    }

    async fn report(&self, handle: &SandboxHandle) -> Result<EnforcementReport> {
        self.status(handle).await?.report.ok_or_else(|| DriverError::NotRunning(handle.id.clone()))
    }

    async fn proxy_link(&self, handle: &SandboxHandle) -> Result<Link> {
        let link = self.folders.of(&handle.id).connect(PROXY).await;
        Ok(Box::pin(link.map_err(|_| DriverError::NotRunning(handle.id.clone()))?))
    }

    async fn list(&self) -> Result<Vec<SandboxHandle>> {
        let io = |source| DriverError::Io { doing: "cannot read the runtime directory", source };
        let mut running = Vec::new();
        for id in self.folders.all().map_err(io)? {
            let handle = SandboxHandle { driver: DriverName::Native, id };
            match self.status(&handle).await {
                Ok(_) => running.push(handle),
                Err(error) => {
                    tracing::info!(sandbox = %handle.id, %error, "removing what is left of a sandbox");
                    self.destroy_sandbox(&handle).await?;
                }
            }
        }
        Ok(running)
    }
}
