//! A driver that keeps the contract and runs nothing. What it holds outlives a gateway, as processes do.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use chiton_api::{
    control::{Credential, Failure, LayerReport, ProxyReply, ProxyRequest, ProxyStatus, Revised},
    frame::{self, SessionKind, session_header},
};
use chiton_audit::{Decision, Event, Layer, Sink, Spool};
use chiton_driver::{
    Capabilities, ComputeDriver, DriverError, DriverName, EnforcementReport, Exit, FilesystemPolicy, Launch,
    LimitsHit, Link, ProxyConfig, Resources, Result, SandboxHandle, SandboxId, SandboxSpec,
};
use chiton_secret::SecretRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{broadcast, watch},
};

/// A text in a policy that the fake proxy refuses.
pub(crate) const REFUSED: &str = "refused.example";
/// A text in a policy on which the fake proxy dies.
pub(crate) const DEADLY: &str = "deadly.example";

/// So many thousandths of a processor are not kept here.
pub(crate) const UNKEPT_CPUS: u32 = 7;

/// What runs, on a host that does not exist.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) sandboxes: BTreeMap<SandboxId, Running>,
    /// Steps as they were asked for.
    pub(crate) calls: Vec<String>,
    /// The step that fails.
    pub(crate) fail_at: Option<&'static str>,
    /// The step that does not end as long as this says so.
    pub(crate) hang_at: Option<&'static str>,
}

/// A sandbox.
pub(crate) struct Running {
    pub(crate) spec: SandboxSpec,
    pub(crate) view: Option<FilesystemPolicy>,
    pub(crate) launch: Option<Launch>,
    pub(crate) proxy: Option<Proxy>,
    /// What it has run into.
    pub(crate) limits: LimitsHit,
    exit: watch::Sender<Option<Exit>>,
    rejected: broadcast::Sender<SecretRef>,
}

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) revision: u64,
    /// Whether whoever started it lived to tell it what to enforce.
    pub(crate) configured: bool,
    pub(crate) policy: String,
    pub(crate) secrets: Vec<String>,
    /// How long each may be used, in milliseconds.
    pub(crate) valid: Vec<Option<u64>>,
    die: broadcast::Sender<()>,
}

impl Proxy {
    fn take(&mut self, credentials: &[Credential]) {
        let text = |c: &Credential| String::from_utf8(c.value.dangerous_expose().to_vec()).unwrap();
        self.secrets = credentials.iter().map(text).collect();
        self.valid = credentials.iter().map(|credential| credential.valid_ms).collect();
    }
}

impl Running {
    /// A server refuses a credential.
    pub(crate) fn reject(&self, reference: &str) {
        let _ = self.rejected.send(reference.parse().unwrap());
    }

    /// Its program ends.
    pub(crate) fn exit(&self, code: u8) {
        self.exit_with(Exit::of(code));
    }

    /// Its program ends, having run into limits.
    pub(crate) fn exit_with(&self, exit: Exit) {
        std::fs::write(&self.spec.exit, serde_json::to_vec(&exit).unwrap()).unwrap();
        self.exit.send_replace(Some(exit));
    }

    /// Its proxy dies.
    pub(crate) fn kill_proxy(&mut self) {
        drop(self.proxy.take());
    }

    /// Its proxy refuses something of the agent's.
    pub(crate) fn refuse(&self, count: usize) {
        let open = OpenOptions::new().create(true).read(true).append(true).open(&self.spec.proxy_events);
        let mut spool = Spool::resume(open.unwrap()).unwrap();
        for _ in 0..count {
            let mut event = Event::new(Layer::Network, "request");
            event.sandbox = Some("somebody-else".into());
            event.decision = Some(Decision::Deny);
            event.reason = Some("host_not_allowed".into());
            spool.append(&event).unwrap();
        }
    }
}

/// The driver.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<Host>>);

impl Fake {
    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap()
    }

    /// Does something with the only sandbox.
    pub(crate) fn only<T>(&self, job: impl FnOnce(&mut Running) -> T) -> T {
        let mut host = self.host();
        assert_eq!(host.sandboxes.len(), 1);
        job(host.sandboxes.values_mut().next().unwrap())
    }

    async fn step(&self, step: &'static str, handle: &SandboxId) -> Result<()> {
        let (fail, hang) = {
            let mut host = self.host();
            host.calls.push(step.to_owned());
            if !["create", "destroy"].contains(&step) && !host.sandboxes.contains_key(handle) {
                return Err(DriverError::NotRunning(handle.clone()));
            }
            (host.fail_at == Some(step), host.hang_at == Some(step))
        };
        while hang && self.host().hang_at == Some(step) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if fail {
            return Err(Failure { message: format!("`{step}` failed as told"), status: 127 }.into());
        }
        Ok(())
    }

    fn with<T>(&self, id: &SandboxId, job: impl FnOnce(&mut Running) -> T) -> Result<T> {
        let mut host = self.host();
        let running = host.sandboxes.get_mut(id).ok_or_else(|| DriverError::NotRunning(id.clone()))?;
        Ok(job(running))
    }

    async fn until_exit(&self, id: &SandboxId) -> Result<Exit> {
        let mut exit = self.with(id, |running| running.exit.subscribe())?;
        // The sender goes with the sandbox.
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| DriverError::NotRunning(id.clone()))?;
        Ok(ended.unwrap())
    }

    async fn serve_proxy(self, id: SandboxId, mut link: DuplexStream, mut die: broadcast::Receiver<()>) {
        loop {
            let mut length = [0; 4];
            tokio::select! {
                _ = die.recv() => return,
                read = link.read_exact(&mut length) => if read.is_err() { return },
            }
            let mut bytes = vec![0; frame::checked_len(length).unwrap()];
            link.read_exact(&mut bytes).await.unwrap();
            let reply = match frame::decode::<ProxyRequest>(&bytes).unwrap() {
                ProxyRequest::Apply(revised) if revised.policy.contains(REFUSED) => {
                    ProxyReply::Failed(Failure { message: "refused as told".into(), status: 125 })
                }
                ProxyRequest::Apply(revised) if revised.policy.contains(DEADLY) => {
                    self.with(&id, Running::kill_proxy).unwrap();
                    return;
                }
                ProxyRequest::AwaitRejected => {
                    let told = self.with(&id, |running| running.rejected.subscribe()).unwrap().recv().await;
                    let Ok(reference) = told else { return };
                    ProxyReply::Rejected(vec![reference])
                }
                ProxyRequest::Refresh(revised) => {
                    let refreshed = self.with(&id, |running| {
                        let proxy = running.proxy.as_mut().unwrap();
                        assert_eq!((proxy.revision, &proxy.policy), (revised.revision, &revised.policy));
                        proxy.take(&revised.credentials);
                    });
                    if refreshed.is_err() {
                        return;
                    }
                    ProxyReply::Enforcing { revision: revised.revision, cut: 0 }
                }
                ProxyRequest::Apply(revised) => {
                    let taken = self.with(&id, |running| {
                        let proxy = running.proxy.as_mut().unwrap();
                        (proxy.revision, proxy.policy) = (revised.revision, revised.policy.clone());
                        proxy.take(&revised.credentials);
                    });
                    if taken.is_err() {
                        return;
                    }
                    ProxyReply::Enforcing { revision: revised.revision, cut: 1 }
                }
                ProxyRequest::Status => {
                    let Ok(revision) = self.with(&id, |running| {
                        running.proxy.as_ref().map(|p| p.configured.then_some(p.revision))
                    }) else {
                        return;
                    };
                    ProxyReply::Status(ProxyStatus {
                        revision: revision.flatten(),
                        connections: 3,
                        denied: 0,
                    })
                }
                ProxyRequest::Configure(_) | ProxyRequest::Names | ProxyRequest::Shutdown => ProxyReply::Done,
            };
            link.write_all(&frame::encode(&reply).unwrap()).await.unwrap();
        }
    }

    /// Greets, echoes its input, and tells of its end.
    async fn serve_session(self, id: SandboxId, mut link: DuplexStream) {
        let greeting = [&session_header(SessionKind::Stdout, 3).unwrap()[..], b"hi\n"].concat();
        if link.write_all(&greeting).await.is_err() {
            return;
        }
        let mut buffer = [0; 1024];
        // Known of from now on: the sandbox may be gone as soon as its end is told.
        let mut ended = pin!(self.until_exit(&id));
        loop {
            tokio::select! {
                exit = &mut ended => {
                    let exit = exit.unwrap_or(Exit::of(137));
                    let body = serde_json::to_vec(&exit).unwrap();
                    let last = [&session_header(SessionKind::Exit, body.len()).unwrap()[..], &body].concat();
                    let _ = link.write_all(&last).await;
                    return;
                }
                read = link.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => {
                        let mut echo = buffer[..read].to_vec();
                        echo[0] = SessionKind::Stdout as u8;
                        link.write_all(&echo).await.unwrap();
                    }
                },
            }
        }
    }

    fn session(&self, id: &SandboxId) -> Link {
        let (ours, theirs) = duplex(1 << 16);
        tokio::spawn(self.clone().serve_session(id.clone(), theirs));
        Box::pin(ours)
    }
}

#[async_trait]
impl ComputeDriver for Fake {
    fn name(&self) -> DriverName {
        DriverName::Native
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            live_denied_paths: true,
            transparent_capture: true,
            resources: false,
            gpu: false,
            images: false,
        }
    }

    fn check_resources(&self, resources: &Resources) -> Result<()> {
        match resources.cpu_millis {
            Some(UNKEPT_CPUS) => {
                Err(DriverError::Unsupported("`static.resources.cpus` is not kept here".into()))
            }
            _ => Ok(()),
        }
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxHandle> {
        let (exit, _) = watch::channel(None);
        let running = Running {
            spec: spec.clone(),
            view: None,
            launch: None,
            proxy: None,
            limits: LimitsHit::default(),
            exit,
            rejected: broadcast::channel(8).0,
        };
        self.host().sandboxes.insert(spec.id.clone(), running);
        self.step("create", &spec.id).await?;
        Ok(SandboxHandle { driver: DriverName::Native, id: spec.id.clone() })
    }

    async fn destroy_sandbox(&self, handle: &SandboxHandle) -> Result<()> {
        self.step("destroy", &handle.id).await?;
        self.host().sandboxes.remove(&handle.id);
        Ok(())
    }

    async fn attach_network_proxy(&self, handle: &SandboxHandle, config: ProxyConfig) -> Result<()> {
        assert!(config.authority.key.dangerous_expose().starts_with(b"-----BEGIN PRIVATE KEY"));
        let (die, _) = broadcast::channel(1);
        let Revised { revision, policy, credentials } = config.revised;
        let mut proxy =
            Proxy { configured: true, revision, policy, secrets: Vec::new(), valid: Vec::new(), die };
        proxy.take(&credentials);
        self.step("attach", &handle.id).await?;
        self.with(&handle.id, |running| running.proxy = Some(proxy))
    }

    async fn inject_filesystem_policy(&self, handle: &SandboxHandle, policy: FilesystemPolicy) -> Result<()> {
        self.step("inject", &handle.id).await?;
        self.with(&handle.id, |running| running.view = Some(policy))
    }

    async fn start(&self, handle: &SandboxHandle, launch: &Launch) -> Result<Link> {
        self.step("start", &handle.id).await?;
        self.with(&handle.id, |running| {
            assert!(running.view.is_some() && running.proxy.is_some(), "started before all locks");
            running.launch = Some(launch.clone());
        })?;
        Ok(self.session(&handle.id))
    }

    async fn attach(&self, handle: &SandboxHandle) -> Result<Link> {
        self.step("join", &handle.id).await?;
        Ok(self.session(&handle.id))
    }

    async fn wait(&self, handle: &SandboxHandle) -> Result<Exit> {
        self.until_exit(&handle.id).await
    }

    async fn stop(&self, handle: &SandboxHandle, grace: Duration) -> Result<Exit> {
        self.step("stop", &handle.id).await?;
        self.with(&handle.id, |running| running.exit(if grace.is_zero() { 137 } else { 143 }))?;
        self.until_exit(&handle.id).await
    }

    async fn signal(&self, handle: &SandboxHandle, signal: i32) -> Result<()> {
        self.step("signal", &handle.id).await?;
        self.with(&handle.id, |running| running.exit(u8::try_from(128 + signal).unwrap()))
    }

    async fn limits_hit(&self, handle: &SandboxHandle) -> Result<LimitsHit> {
        self.with(&handle.id, |running| running.limits)
    }

    async fn report(&self, _: &SandboxHandle) -> Result<EnforcementReport> {
        let layer = LayerReport { layer: "view".into(), enforced: true, detail: "pretended".into() };
        Ok(EnforcementReport { layers: vec![layer] })
    }

    async fn proxy_link(&self, handle: &SandboxHandle) -> Result<Link> {
        let die = self.with(&handle.id, |running| running.proxy.as_ref().map(|p| p.die.subscribe()))?;
        let die = die.ok_or_else(|| DriverError::NotRunning(handle.id.clone()))?;
        let (ours, theirs) = duplex(1 << 20);
        tokio::spawn(self.clone().serve_proxy(handle.id.clone(), theirs, die));
        Ok(Box::pin(ours))
    }

    async fn examine(&self) -> Result<Vec<chiton_api::http::LayerCheck>> {
        Ok(Vec::new())
    }

    async fn pull(&self, _: &str, _: tokio::sync::mpsc::Sender<chiton_api::http::PullStep>) -> Result<()> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SandboxHandle>> {
        let handle = |id: &SandboxId| SandboxHandle { driver: DriverName::Native, id: id.clone() };
        Ok(self.host().sandboxes.keys().map(handle).collect())
    }
}
