//! What the tests stand on: a driver in a folder of its own, a sandbox, a session.

use std::{
    io::Write as _,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use chiton_api::{
    control::{
        AuthorityMaterial, Exit, FilesystemPolicy, Launch, Listeners, ProxyConfig, ProxyReply, ProxyRequest,
        Revised, TerminalSize, Upstream,
    },
    frame::{self, SessionKind},
};
use chiton_driver::{ComputeDriver as _, DriverError, Link, SandboxHandle, SandboxId, SandboxSpec};
use chiton_driver_native::{NativeConfig, NativeDriver};
use chiton_secret::SecretValue;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const POLICY: &str = "version: 1\nstatic:\n  filesystem:\n    allowed_paths: [/workspace]\n";

/// Plays the proxy's part of the control link: takes the configuration, says that it enforces.
pub(crate) fn be_proxy() -> ExitCode {
    let control = chiton_sys::spawn::inherited(3).unwrap();
    loop {
        let Ok(link) = rustix::net::accept(&control) else { return ExitCode::FAILURE };
        let mut length = [0; 4];
        let Ok((4, descriptors)) = chiton_sys::descriptors::receive(link.as_fd(), &mut length) else {
            continue;
        };
        let mut link = std::fs::File::from(link);
        let mut bytes = vec![0; frame::checked_len(length).unwrap()];
        std::io::Read::read_exact(&mut link, &mut bytes).unwrap();
        let ProxyRequest::Configure(config) = frame::decode(&bytes).unwrap() else { continue };
        let Listeners { tcp, dns_udp, dns_tcp, dropped } = config.listeners;
        let told = u32::from(tcp) + u32::from(dns_udp) + u32::from(dns_tcp) + u32::from(dropped);
        assert_eq!(usize::try_from(told).unwrap() + 1, descriptors.len());
        frame::write_message(&mut link, &ProxyReply::Enforcing { revision: 1, cut: 0 }).unwrap();
        link.flush().unwrap();
    }
}

/// A driver and a sandbox's files.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) driver: NativeDriver,
    pub(crate) handle: SandboxHandle,
    pub(crate) spec: SandboxSpec,
}

impl Bench {
    /// A driver, and a sandbox that is not created yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("chiton-native-").tempdir_in("/tmp").unwrap();
        let workspace = folder.path().join("project");
        std::fs::create_dir(&workspace).unwrap();
        let file = |name: &str| folder.path().join(name);
        let spec = SandboxSpec {
            id: SandboxId::try_from("01jdzzzzzzzzzzzzzzzzzzzzzz".to_owned()).unwrap(),
            name: "bench".into(),
            workspace: workspace.canonicalize().unwrap(),
            log: file("log"),
            supervisor_events: file("supervisor.events"),
            proxy_events: file("proxy.events"),
            exit: file("exit.json"),
        };
        let handle = SandboxHandle { driver: chiton_driver::DriverName::Native, id: spec.id.clone() };
        let driver = Self::driver(folder.path());
        Self { folder, driver, handle, spec }
    }

    pub(crate) fn driver(folder: &Path) -> NativeDriver {
        let config = NativeConfig { runtime: folder.join("run"), executable: "/proc/self/exe".into() };
        NativeDriver::new(config)
    }

    pub(crate) fn runtime_folder(&self) -> PathBuf {
        self.folder.path().join("run/sandboxes").join(self.spec.id.as_str())
    }

    /// A sandbox that is ready for its program.
    pub(crate) async fn ready() -> Self {
        let bench = Self::new();
        bench.prepare().await.unwrap();
        bench
    }

    pub(crate) async fn prepare(&self) -> Result<(), DriverError> {
        self.driver.create_sandbox(&self.spec).await?;
        self.driver.inject_filesystem_policy(&self.handle, self.policy(POLICY)).await?;
        self.driver.attach_network_proxy(&self.handle, proxy_config()).await
    }

    pub(crate) fn policy(&self, text: &str) -> FilesystemPolicy {
        FilesystemPolicy {
            policy: text.to_owned(),
            workspace: Some(self.spec.workspace.clone()),
            home: "/home/somebody".into(),
            extra_read_only: Vec::new(),
            own_folders: vec![self.folder.path().join("run")],
            policy_file: None,
            authority_pem: String::new(),
            env: [("FROM_POLICY".to_owned(), "yes".to_owned())].into(),
        }
    }

    /// Starts a program with a session.
    pub(crate) async fn session(&self, launch: Launch) -> Result<Session, DriverError> {
        Ok(Session::over(self.driver.start(&self.handle, &launch).await?))
    }

    /// A ready sandbox, a shell's script in it, its whole output and its status.
    pub(crate) async fn script(text: &str) -> (String, String, u8) {
        let bench = Self::ready().await;
        let ended = bench.session(shell(text)).await.unwrap().end().await;
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
        ended
    }
}

impl Drop for Bench {
    /// A test that failed leaves nothing behind either.
    fn drop(&mut self) {
        let Ok(text) = std::fs::read(self.runtime_folder().join("record.json")) else { return };
        let record: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let pids = ["supervisor", "proxy"].iter().filter_map(|role| record[role]["pid"].as_i64());
        for pid in pids.filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

pub(crate) fn proxy_config() -> ProxyConfig {
    ProxyConfig {
        sandbox: "bench".into(),
        listeners: Listeners { tcp: 0, dns_udp: 0, dns_tcp: 0, dropped: 0 },
        revised: Revised { revision: 1, policy: POLICY.into(), credentials: Vec::new() },
        authority: AuthorityMaterial { certificate: String::new(), key: SecretValue::new(Vec::new()) },
        upstream: Upstream::default(),
    }
}

/// The main program: a shell with this script.
pub(crate) fn shell(script: &str) -> Launch {
    program(&["/bin/sh", "-c", script])
}

/// The main program.
pub(crate) fn program(argv: &[&str]) -> Launch {
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
pub(crate) fn in_terminal(launch: Launch, rows: u16, columns: u16) -> Launch {
    Launch { terminal: Some(TerminalSize { rows, columns }), ..launch }
}

/// The same as an `exec`.
pub(crate) fn exec(launch: Launch) -> Launch {
    Launch { main: false, ..launch }
}

/// The gateway's side of a session.
pub(crate) struct Session {
    pub(crate) from: ReadHalf<Link>,
    pub(crate) to: WriteHalf<Link>,
    pub(crate) seen: Vec<u8>,
}

impl Session {
    pub(crate) fn over(link: Link) -> Self {
        let (from, to) = tokio::io::split(link);
        Self { from, to, seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, kind: SessionKind, payload: &[u8]) {
        send(&mut self.to, kind, payload).await;
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> (SessionKind, Vec<u8>) {
        tokio::time::timeout(PATIENCE, read_frame(&mut self.from)).await.expect("a frame in time")
    }

    /// Reads until the output holds this; says all of it so far.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
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
    pub(crate) async fn end(&mut self) -> (String, String, u8) {
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

pub(crate) async fn send(to: &mut WriteHalf<Link>, kind: SessionKind, payload: &[u8]) {
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
