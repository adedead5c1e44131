//! What the suite stands on: a sandbox and its files, programs for it, the gateway's side of a session.

use std::{any::Any, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use chiton_api::{
    control::{
        AuthorityMaterial, Devices, Exit, FilesystemPolicy, Launch, Listeners, ProxyConfig, Revised,
        TerminalSize, Upstream,
    },
    frame::{self, SessionKind},
};
use chiton_secret::SecretValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::Fixture;
use crate::{ComputeDriver, DriverError, Gpu, Link, Resources, SandboxHandle, SandboxId, SandboxSpec};

/// Nothing may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The workspace and nothing else.
pub const POLICY: &str = "version: 1\nstatic:\n  filesystem:\n    allowed_paths: [/workspace]\n";

/// A driver and a sandbox's files.
pub struct Sandbox {
    /// The driver.
    pub driver: Arc<dyn ComputeDriver>,
    /// The sandbox, created or not.
    pub handle: SandboxHandle,
    /// What it is made from.
    pub spec: SandboxSpec,
    /// What lives as long as it does: the fixture's folder.
    _kept: Box<dyn Any + Send + Sync>,
}

impl Sandbox {
    /// A sandbox with its files in `folder`, not created yet. `kept` is dropped with it.
    pub fn new(driver: Arc<dyn ComputeDriver>, folder: &Path, kept: impl Any + Send + Sync) -> Self {
        let workspace = folder.join("project");
        std::fs::create_dir(&workspace).unwrap();
        let file = |name: &str| folder.join(name);
        let spec = SandboxSpec {
            id: SandboxId::try_from("01jdzzzzzzzzzzzzzzzzzzzzzz".to_owned()).unwrap(),
            name: "sandbox".into(),
            workspace: workspace.canonicalize().unwrap(),
            image: None,
            log: file("log"),
            supervisor_events: file("supervisor.events"),
            proxy_events: file("proxy.events"),
            exit: file("exit.json"),
            resources: Resources::default(),
            gpu: Gpu::None,
        };
        let handle = SandboxHandle { driver: driver.name(), id: spec.id.clone() };
        Self { driver, handle, spec, _kept: Box::new(kept) }
    }

    /// A sandbox that is ready for its program.
    pub async fn ready(fixture: &dyn Fixture) -> Self {
        let sandbox = fixture.sandbox();
        sandbox.prepare(POLICY).await.unwrap();
        sandbox
    }

    /// Everything before its program.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(&self, policy: &str) -> Result<(), DriverError> {
        self.driver.create_sandbox(&self.spec).await?;
        self.driver.inject_filesystem_policy(&self.handle, self.policy(policy)).await?;
        self.driver.attach_network_proxy(&self.handle, proxy_config()).await
    }

    /// The static half for the driver.
    #[must_use]
    pub fn policy(&self, text: &str) -> FilesystemPolicy {
        FilesystemPolicy {
            policy: text.to_owned(),
            workspace: Some(self.spec.workspace.clone()),
            home: "/home/somebody".into(),
            extra_read_only: Vec::new(),
            image: self.spec.image.is_some(),
            image_env: std::collections::BTreeMap::new(),
            devices: Devices::default(),
            directory: None,
            own_folders: Vec::new(),
            policy_file: None,
            authority_pem: String::new(),
            env: [("FROM_POLICY".to_owned(), "yes".to_owned())].into(),
        }
    }

    /// Writes a file of the workspace, as the workspace's owner would.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.spec.workspace.join(name);
        std::fs::write(&path, text).unwrap();
        let folder = std::fs::metadata(&self.spec.workspace).unwrap();
        std::os::unix::fs::chown(path, Some(folder.uid()), Some(folder.gid())).unwrap();
    }

    /// Starts a program with a session.
    ///
    /// # Errors
    /// The driver's.
    pub async fn session(&self, launch: Launch) -> Result<Session, DriverError> {
        Ok(Session::over(self.driver.start(&self.handle, &launch).await?))
    }
}

/// A ready sandbox, a shell's script in it, its whole output and its status.
pub(super) async fn script(fixture: &dyn Fixture, text: &str) -> (String, String, u8) {
    let sandbox = Sandbox::ready(fixture).await;
    let ended = sandbox.session(shell(text)).await.unwrap().end().await;
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    ended
}

/// A proxy's configuration with the smallest policy.
#[must_use]
pub fn proxy_config() -> ProxyConfig {
    ProxyConfig {
        sandbox: "bench".into(),
        listeners: Listeners { tcp: 0, dns_udp: 0, dns_tcp: 0, dropped: 0, owners: 0 },
        revised: Revised { revision: 1, policy: POLICY.into(), credentials: Vec::new() },
        authority: AuthorityMaterial { certificate: String::new(), key: SecretValue::new(Vec::new()) },
        upstream: Upstream::default(),
    }
}

/// The main program: a shell with this script.
pub fn shell(script: &str) -> Launch {
    program(&["/bin/sh", "-c", script])
}

/// The main program.
pub fn program(argv: &[&str]) -> Launch {
    Launch {
        main: true,
        argv: argv.iter().map(|&a| a.to_owned()).collect(),
        env: [("FROM_LAUNCH".to_owned(), "yes".to_owned())].into(),
        cwd: None,
        terminal: None,
        attach: true,
        stdin: true,
    }
}

/// The same in a terminal.
pub fn in_terminal(launch: Launch, rows: u16, columns: u16) -> Launch {
    Launch { terminal: Some(TerminalSize { rows, columns }), ..launch }
}

/// The same as an `exec`.
pub fn exec(launch: Launch) -> Launch {
    Launch { main: false, ..launch }
}

/// The gateway's side of a session.
pub struct Session {
    pub(super) from: ReadHalf<Link>,
    pub(super) to: WriteHalf<Link>,
    pub(super) seen: Vec<u8>,
}

impl Session {
    /// Over the link of a `start` or an `attach`.
    #[must_use]
    pub fn over(link: Link) -> Self {
        let (from, to) = tokio::io::split(link);
        Self { from, to, seen: Vec::new() }
    }

    /// Sends a frame to the program.
    pub async fn send(&mut self, kind: SessionKind, payload: &[u8]) {
        send(&mut self.to, kind, payload).await;
    }

    /// The next frame.
    pub async fn frame(&mut self) -> (SessionKind, Vec<u8>) {
        tokio::time::timeout(PATIENCE, read_frame(&mut self.from)).await.expect("a frame in time")
    }

    /// Reads until the output holds this; says all of it so far.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if text.contains(wanted) {
                return text;
            }
            let (kind, payload) = self.frame().await;
            assert_ne!(kind, SessionKind::Exit, "ended without `{wanted}`: {text}");
            self.seen.extend(payload);
        }
    }

    /// Reads to the end: standard output, standard error, status.
    pub async fn end(&mut self) -> (String, String, u8) {
        let (mut errors, mut output) = (Vec::new(), std::mem::take(&mut self.seen));
        loop {
            match self.frame().await {
                (SessionKind::Stdout, payload) => output.extend(payload),
                (SessionKind::Stderr, payload) => errors.extend(payload),
                (SessionKind::Exit, payload) => {
                    let exit: Exit = serde_json::from_slice(&payload).unwrap();
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    return (text(output), text(errors), exit.code);
                }
                (kind, _) => panic!("a {kind:?} frame from the program"),
            }
        }
    }
}

pub(super) async fn send(to: &mut WriteHalf<Link>, kind: SessionKind, payload: &[u8]) {
    to.write_all(&frame::session_header(kind, payload.len()).unwrap()).await.unwrap();
    to.write_all(payload).await.unwrap();
}

async fn read_frame(from: &mut ReadHalf<Link>) -> (SessionKind, Vec<u8>) {
    let mut header = [0; 5];
    from.read_exact(&mut header).await.expect("a frame before the end");
    let (kind, len) = frame::parse_session_header(header).unwrap();
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).await.unwrap();
    (kind, payload)
}
