//! The demo's own installation: folders, a gateway, a sandbox. Gone when dropped.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::{LIMIT, attempts::POLICY, upstream::Upstream};
use crate::{context::home, error::CliError};

/// The names that the demo's server stands for.
const NAMES: [&str; 3] = ["api.github.com", "api.openai.com", "paste.example.net"];
/// The demo's sandbox.
pub(crate) const SANDBOX: &str = "demo";
/// This program as the agent sees it.
const AGENT: &str = "/workspace/agent";

/// Everything that the tour needs.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    home: PathBuf,
    upstream: Upstream,
    key: String,
    transcript: String,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Stage {
    /// Makes the folders, the key and the server.
    pub(crate) fn set() -> Result<Self, CliError> {
        let upstream = Upstream::start().map_err(|error| CliError::new(error.to_string()))?;
        let folder = private_folder()?;
        let stage = Self { folder, home: home()?, upstream, key: random_key()?, transcript: String::new() };
        clear_on_signal(stage.folder.clone())?;
        for name in ["state", "run", "workspace"] {
            fs::DirBuilder::new().mode(0o700).create(stage.folder.join(name))?;
        }
        stage.write("ca.pem", stage.upstream.certificate())?;
        stage.write("config.toml", &stage.config())?;
        stage.write("policy.yaml", POLICY)?;
        stage.write("workspace/.env", "DATABASE_PASSWORD=correct-horse-battery-staple\n")?;
        stage.write("workspace/README.md", "A project.\n")?;
        let agent = stage.folder.join("workspace/agent");
        fs::copy("/proc/self/exe", &agent)?;
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755))?;
        Ok(stage)
    }

    fn config(&self) -> String {
        let mut text =
            format!("[upstream]\nextra_ca = [{:?}]\n\n[upstream.resolve]\n", self.folder.join("ca.pem"));
        for name in NAMES {
            text.push_str(&format!("\"{name}:443\" = \"{}\"\n", self.upstream.address()));
        }
        text
    }

    /// Stores the key and starts the sandbox.
    pub(crate) fn start(&mut self) -> Result<(), CliError> {
        let key = self.key.clone();
        self.succeed(&["secret", "set", "openai"], &key)?;
        let (policy, workspace) = (self.shown("policy.yaml"), self.shown("workspace"));
        self.succeed(
            &[
                "run",
                "-d",
                "-n",
                SANDBOX,
                "-p",
                &policy,
                "-w",
                &workspace,
                "--",
                "sh",
                "-c",
                "while :; do sleep 60; done",
            ],
            "",
        )?;
        Ok(())
    }

    /// Replaces the policy's dynamic half.
    pub(crate) fn apply(&mut self, policy: &str) -> Result<(), CliError> {
        self.write("tighter.yaml", policy)?;
        let file = self.shown("tighter.yaml");
        self.succeed(&["policy", "apply", SANDBOX, &file], "").map(drop)
    }

    /// Runs a command in the sandbox.
    pub(crate) fn inside(&mut self, command: &[&str]) -> Result<Said, CliError> {
        let arguments: Vec<&str> = ["exec", SANDBOX].into_iter().chain(command.iter().copied()).collect();
        let said = self.chiton(&arguments)?;
        if said.status == 125 {
            return Err(failed(&arguments, &said));
        }
        self.transcript.push_str(&said.stdout);
        self.transcript.push_str(&said.stderr);
        Ok(said)
    }

    /// Runs this program in the sandbox, as the agent.
    pub(crate) fn agent(&mut self, arguments: &[&str]) -> Result<Said, CliError> {
        let command: Vec<&str> = [AGENT, "demo-agent"].into_iter().chain(arguments.iter().copied()).collect();
        self.inside(&command)
    }

    /// Runs this program outside, against the demo's own gateway.
    pub(crate) fn chiton(&self, arguments: &[&str]) -> Result<Said, CliError> {
        self.call(arguments, "")
    }

    fn succeed(&self, arguments: &[&str], input: &str) -> Result<Said, CliError> {
        let said = self.call(arguments, input)?;
        if said.status == 0 { Ok(said) } else { Err(failed(arguments, &said)) }
    }

    fn call(&self, arguments: &[&str], input: &str) -> Result<Said, CliError> {
        let mut child = own_command(&self.folder, arguments).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input ends without it.
            let _ = stdin.write_all(input.as_bytes());
        }
        let (ended, still) = mpsc::channel::<()>();
        let child_id = child.id();
        thread::spawn(move || {
            if still.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                kill(child_id);
            }
        });
        let output = child.wait_with_output()?;
        drop(ended);
        Ok(Said {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Whether a text holds the key.
    pub(crate) fn holds_key(&self, text: &str) -> bool {
        text.contains(&self.key)
    }

    /// Whether the key was in nothing that came out of the sandbox, and is in no file of the demo in the clear.
    pub(crate) fn key_stayed_out(&self) -> Result<bool, CliError> {
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)?.flatten() {
                let kind = entry.file_type()?;
                let read = || fs::read(entry.path()).unwrap_or_default();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && memory_holds(&read(), self.key.as_bytes()) {
                    return Ok(false);
                }
            }
        }
        Ok(!self.holds_key(&self.transcript))
    }

    /// The demo's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's workspace on the host.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.join("workspace")
    }

    /// The user's own home, for what is not to be seen inside.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The server.
    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The key that nobody inside may see.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CliError> {
        Ok(fs::write(self.folder.join(name), text)?)
    }

    fn shown(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        clear(&self.folder);
    }
}

/// This program against the gateway of a folder.
fn own_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(arguments)
        .current_dir(folder)
        .env("CHITON_STATE_DIR", folder.join("state"))
        .env("CHITON_RUNTIME_DIR", folder.join("run"))
        .env("CHITON_CONFIG", folder.join("config.toml"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Ends what the demo started and removes its folder.
fn clear(folder: &Path) {
    // What cannot be stopped or removed stays in the system's temporary folder; the tour is over.
    let _ = own_command(folder, &["gateway", "stop", "--all"]).stdin(Stdio::null()).output();
    let _ = fs::remove_dir_all(folder);
}

/// Whoever interrupts the tour leaves nothing behind either.
fn clear_on_signal(folder: PathBuf) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(guard);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        clear(&folder);
        std::process::exit(130);
    });
    Ok(())
}

fn kill(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may just have ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn failed(arguments: &[&str], said: &Said) -> CliError {
    let why = said.stderr.lines().find_map(|line| line.strip_prefix("error: "));
    let why = why.map_or_else(|| format!("it ended with {}", said.status), str::to_owned);
    CliError::new(format!("the demo's `chiton {}` failed: {why}", arguments.first().unwrap_or(&"")))
        .hint("chiton doctor says what this machine can enforce")
}

/// A folder of our own in the system's temporary one; its name is short, for sockets have short names.
fn private_folder() -> Result<PathBuf, CliError> {
    let parent = env::temp_dir();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let folder = parent.join(format!("chiton-demo-{}-{nanos}", std::process::id()));
    let made = fs::DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| CliError::new(format!("cannot make `{}`: {error}", folder.display())))?;
    Ok(folder)
}

fn random_key() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sk-demo-{digits}"))
}

fn memory_holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
