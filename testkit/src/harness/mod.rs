//! The built binary with folders of its own: nothing of the machine's user is read or left behind.

mod home;
mod outcome;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use self::home::Home;
pub use self::outcome::Outcome;
use crate::{
    ca::TestCa,
    engines::{self, Engine},
};

/// Who runs the command line and the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// Root. The test must run as root.
    Root,
    /// An ordinary user: this one, or, when the test runs as root, a user id that nobody has.
    User,
}

/// The uid and gid that stand for an ordinary user when the tests run as root.
pub const TEST_USER: u32 = 7_100;

/// Longer than any command of a test takes.
const LIMIT: Duration = Duration::from_secs(180);

/// One installation of chiton, gone when dropped.
#[derive(Debug)]
pub struct Chiton {
    home: Home,
    extra_ca: Vec<PathBuf>,
    resolve: BTreeMap<String, String>,
    llm_allow: Vec<String>,
    upstream: String,
    sections: String,
    environment: BTreeMap<String, String>,
    /// Whose containers its sandboxes are; else they are native.
    engine: Option<&'static Engine>,
}

impl Chiton {
    /// Folders for this user: state, sockets, configuration, home, and `workspace`. Where the tests name an engine, the
    /// user is the one who asks it.
    #[must_use]
    pub fn new(user: As) -> Self {
        let engine = engines::named();
        let user = engine.map_or(user, |engine| engine.kind().asked_by(user));
        let chiton = Self {
            // Root's gateway has no container run as root.
            home: Home::new(user, engine.is_some()),
            engine,
            extra_ca: Vec::new(),
            resolve: BTreeMap::new(),
            llm_allow: Vec::new(),
            upstream: String::new(),
            sections: String::new(),
            environment: BTreeMap::new(),
        };
        chiton.write_config();
        chiton
    }

    /// Trusts an authority for upstream servers.
    pub fn trust(&mut self, ca: &TestCa) -> &mut Self {
        let path = self.home.path(&format!("ca-{}.pem", self.extra_ca.len()));
        ca.write(&path);
        self.home.give(&path);
        self.extra_ca.push(path);
        self.write_config();
        self
    }

    /// Sends `name:port` to an address, as `[upstream.resolve]` does.
    pub fn resolve(&mut self, name: &str, address: SocketAddr) -> &mut Self {
        self.resolve.insert(name.to_owned(), address.to_string());
        self.write_config();
        self
    }

    /// Opens a base URL with plain HTTP or a loopback address for LLM routes.
    pub fn allow_llm(&mut self, base_url: &str) -> &mut Self {
        self.llm_allow.push(base_url.to_owned());
        self.write_config();
        self
    }

    /// More lines of `[upstream]`, in the place of those that were given before.
    pub fn upstream(&mut self, lines: &str) -> &mut Self {
        lines.clone_into(&mut self.upstream);
        self.write_config();
        self
    }

    /// Other sections of the configuration, in the place of those that were given before.
    pub fn sections(&mut self, text: &str) -> &mut Self {
        text.clone_into(&mut self.sections);
        self.write_config();
        self
    }

    /// A variable for every command from now on.
    pub fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn write_config(&self) {
        let list =
            |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
        let paths: Vec<_> = self.extra_ca.iter().map(|path| path.display().to_string()).collect();
        let mut text =
            format!("[upstream]\nextra_ca = [{}]\n{}\n\n[upstream.resolve]\n", list(&paths), self.upstream);
        for (name, address) in &self.resolve {
            text.push_str(&format!("{name:?} = {address:?}\n"));
        }
        text.push_str(&format!("\n[llm]\nallow = [{}]\n", list(&self.llm_allow)));
        if let Some(engine) = self.engine {
            text.push_str(&format!("\n[{}]\nsocket = {:?}\n", engine.driver(), engine.socket()));
        }
        text.push_str(&self.sections);
        self.home.write("config.toml", text.as_bytes());
    }

    /// The folder that is `/workspace` inside.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.home.path("workspace")
    }

    /// A path of this installation: `home`, `state`, `run`, `config.toml`, or a new one.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    /// Writes a file that the user owns, with its folders; relative to this installation.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.home.write(name, text.as_ref())
    }

    /// Writes a file of the workspace.
    pub fn write_workspace(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.home.write(&format!("workspace/{name}"), text.as_ref())
    }

    /// Writes a policy beside the workspace, not in it.
    pub fn policy(&self, text: &str) -> PathBuf {
        let digest = text.bytes().fold(5381_u64, |hash, byte| hash.wrapping_mul(33) ^ u64::from(byte));
        self.home.write(&format!("policies/{digest:x}.yaml"), text.as_bytes())
    }

    /// Stores a secret.
    pub fn secret(&self, name: &str, value: &str) {
        self.run_with(&["secret", "set", name], value).expect_success();
    }

    /// The command line, ready to be started: in the workspace, with an environment of its own. `run` makes a container
    /// of the image `debian` where the tests name an engine.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        match (self.engine, arguments) {
            (Some(engine), ["run", rest @ ..]) => {
                let run = ["run", "--driver", engine.driver(), "--image", "debian"];
                self.command_of(&binary(), &[&run, rest].concat())
            }
            _ => self.command_of(&binary(), arguments),
        }
    }

    /// The same of another program.
    #[must_use]
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = self.home.command(program);
        command.args(arguments).current_dir(self.workspace()).envs(&self.environment);
        command
    }

    /// The command line, begun by a shell after something else, whose traces it inherits.
    #[must_use]
    pub fn command_after(&self, first: &str, arguments: &[&str]) -> Command {
        let (script, binary) = (format!("{first}; exec \"$@\""), binary());
        let shell = ["-c", &script, "sh", binary.to_str().expect("a path in UTF-8")];
        self.command_of(Path::new("/bin/sh"), &[&shell[..], arguments].concat())
    }

    /// Runs it to its end, without standard input.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    /// Runs it to its end, with this standard input.
    #[must_use]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the chiton binary");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        thread::spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
        });
        finish(child, arguments)
    }

    /// `chiton run --rm -p POLICY -- ARGUMENTS`.
    #[must_use]
    pub fn sandboxed(&self, policy: &Path, arguments: &[&str]) -> Outcome {
        let policy = policy.to_str().expect("a path in UTF-8");
        let mut all = vec!["run", "--rm", "-p", policy, "--"];
        all.extend_from_slice(arguments);
        self.run(&all)
    }

    /// Copies the probe into the workspace; inside it is `/workspace/chiton-probe`.
    pub fn bring_probe(&self) {
        let probe = fs::read(probe_binary()).expect("the probe; `cargo xtask test` builds it");
        let path = self.write_workspace("chiton-probe", probe);
        self.home.make_executable(&path);
    }

    /// Every chained audit event so far, as JSON.
    #[must_use]
    pub fn audit(&self, filters: &[&str]) -> Vec<serde_json::Value> {
        let mut arguments = vec!["audit", "query", "--json"];
        arguments.extend_from_slice(filters);
        let outcome = self.run(&arguments).expect_success();
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// Processes that belong to this installation.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.home.processes()
    }

    fn nothing_runs(&self) -> bool {
        self.processes().is_empty() && self.home.sockets().is_empty()
    }

    /// Whether any file below the state, runtime or home folder, or the workspace, holds these bytes.
    #[must_use]
    pub fn files_holding(&self, needle: &[u8]) -> Vec<PathBuf> {
        self.home.files_holding(needle)
    }
}

impl Drop for Chiton {
    fn drop(&mut self) {
        if self.nothing_runs() {
            return;
        }
        let mut stopped = self.run(&["gateway", "stop", "--all"]);
        if !self.home.sockets().is_empty() && self.processes().is_empty() {
            // A test killed the gateway: the next one adopts what runs, and stops it.
            let _ = self.run(&["gateway", "start"]);
            stopped = self.run(&["gateway", "stop", "--all"]);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.nothing_runs() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let left = (self.processes(), self.home.sockets());
        self.home.kill_left(&left.0);
        if !thread::panicking() {
            assert!(left.0.is_empty() && left.1.is_empty(), "left behind: {left:?}\n{stopped:?}");
        }
    }
}

/// Waits for the end, with a limit that only a hang reaches.
#[must_use]
pub fn finish(child: Child, arguments: &[&str]) -> Outcome {
    let id = child.id();
    let (ended, watched) = std::sync::mpsc::channel::<()>();
    let watcher = thread::spawn(move || {
        let hung = watched.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hung {
            home::kill(id);
        }
        hung
    });
    let output = child.wait_with_output().expect("its output");
    drop(ended);
    let hung = watcher.join().unwrap_or(false);
    assert!(!hung, "`chiton {}` did not end in {LIMIT:?}", arguments.join(" "));
    Outcome::new(&output)
}

/// The binary under test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    built("CHITON_BIN", "chiton")
}

/// The probe that runs inside.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn probe_binary() -> PathBuf {
    built("CHITON_PROBE", "chiton-probe")
}

/// From the variable, else beside the test's own executable.
fn built(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the test's path");
    let found = test.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not built: run `cargo xtask test`, or set {variable}"))
}
