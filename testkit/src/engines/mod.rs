//! Container engines of the test's own: a Docker or a Podman in namespaces and a folder of its own, which is gone with
//! the test program, however that ends.
//!
//! A keeper, a shell, holds a process, mount and network namespace open for as long as its standard input is open. What
//! runs in there ends with it: the engine, its containers, their mounts. Then the keeper removes the folder.

pub mod images;
mod network;
mod place;
pub mod registry;

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use self::place::Place;
use crate::harness::{As, TEST_USER};

/// The proxy that an engine is told of: containers must not be.
pub const PROXY: &str = "http://joe:proxy-password@127.0.0.1:9";
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which engine, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker, root's.
    Docker,
    /// Podman, root's.
    Podman,
    /// Podman of the tests' ordinary user.
    Rootless,
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Rootless];

    /// Whose gateway asks it: root's Podman has root's; the others are an ordinary user's.
    #[must_use]
    pub fn user(self) -> As {
        if self == Self::Podman { As::Root } else { As::User }
    }

    /// Whose gateway asks it where a test has this user's: Docker is asked by both.
    #[must_use]
    pub fn asked_by(self, user: As) -> As {
        if self == Self::Docker { user } else { self.user() }
    }
}

/// The one that all tests of a program share, with the images `busybox` and `debian`.
#[must_use]
pub fn shared(kind: Kind) -> &'static Engine {
    static ENGINES: [OnceLock<Engine>; 3] = [const { OnceLock::new() }; 3];
    let place = Kind::ALL.iter().position(|other| *other == kind).expect("one of them");
    ENGINES[place].get_or_init(|| {
        let engine = Engine::start(kind);
        engine.import("busybox", &images::busybox().path(), &[]);
        engine.import("debian", &images::debian(), &[]);
        engine
    })
}

/// The one that `CHITON_TEST_ENGINE` names (`docker`, `podman` or `rootless`): every sandbox of the tests is a container
/// of it then.
///
/// # Panics
/// When it names another.
#[must_use]
pub fn named() -> Option<&'static Engine> {
    let kind = match std::env::var("CHITON_TEST_ENGINE").ok()?.as_str() {
        "docker" => Kind::Docker,
        "podman" => Kind::Podman,
        "rootless" => Kind::Rootless,
        other => panic!("CHITON_TEST_ENGINE={other}: none of docker, podman, rootless"),
    };
    Some(shared(kind))
}

/// What an engine is started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many bytes its images and containers may take together.
    pub disk: Option<u64>,
    /// A Podman's `volumes` of containers.conf: what it mounts into every container, `FROM:TO`.
    pub volume: Option<String>,
    /// Whether Docker's containers have its own network, in which [`Engine::leads_to`] has addresses.
    pub network: bool,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    place: Place,
    service: Mutex<Child>,
    network: bool,
}

impl Engine {
    /// Starts one without images.
    ///
    /// # Panics
    /// When it does not come up, or without root.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &Settings::default())
    }

    /// The same, with settings of its own.
    ///
    /// # Panics
    /// As [`Engine::start`].
    #[must_use]
    pub fn start_with(kind: Kind, settings: &Settings) -> Self {
        let place = Place::new();
        if kind == Kind::Rootless {
            place.know_the_user(TEST_USER);
        }
        match kind {
            // For what it starts in a container later.
            Kind::Docker => drop(place.folder("service/runtime", None)),
            Kind::Podman | Kind::Rootless => configure(&place, kind, settings),
        }
        if let Some(disk) = settings.disk {
            let owner = (kind == Kind::Rootless).then_some(TEST_USER);
            place.small_disk(&place.folder("service/images", owner), disk);
        }
        let service = Mutex::new(service(kind, &place, settings.network));
        let engine = Self { kind, place, service, network: settings.network };
        engine.wait();
        engine
    }

    /// Its name, as in `--driver`.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self.kind {
            Kind::Docker => "docker",
            Kind::Podman | Kind::Rootless => "podman",
        }
    }

    /// Which it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it is asked.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.place.file("service/engine.sock")
    }

    /// Makes an image of an archive's files. Each of `changes` is a line of a Dockerfile.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn import(&self, name: &str, archive: &Path, changes: &[&str]) {
        let changes: String = changes.iter().map(|line| format!("&changes={}", encode(line))).collect();
        let path = format!("images/create?fromSrc=-&repo={name}&tag=latest{changes}");
        let archive = archive.to_str().expect("UTF-8");
        let answer = self.ask(&path, &["-X", "POST", "-H", "Content-Type: application/x-tar", "-T", archive]);
        assert!(answer.contains("sha256:"), "{answer}");
    }

    /// Every container it has, running or not.
    #[must_use]
    pub fn containers(&self) -> Vec<Value> {
        self.look("containers/json?all=1")
    }

    /// Those that have this folder for their workspace.
    #[must_use]
    pub fn containers_of(&self, workspace: &Path) -> Vec<Value> {
        let mut found = self.containers();
        found.retain(|container| {
            let mut mounts = container["Mounts"].as_array().into_iter().flatten();
            mounts.any(|mount| mount["Source"].as_str().is_some_and(|path| Path::new(path) == workspace))
        });
        found
    }

    /// Every volume it has.
    #[must_use]
    pub fn volumes(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.ask("volumes", &[])).expect("JSON");
        answer["Volumes"].as_array().cloned().unwrap_or_default()
    }

    /// An address in the engine's own network that leads to this one of the machine's, for as long as the test runs.
    #[must_use]
    pub fn leads_to(&self, server: std::net::SocketAddr) -> std::net::SocketAddr {
        network::lead(&self.place.network(), server)
    }

    /// As an engine in a virtual machine: of this folder it sees nothing but what is below `shared`, if anything.
    pub fn sees_only(&self, folder: &Path, shared: Option<&Path>) {
        self.place.hide(folder, shared);
    }

    /// What it says of a container.
    #[must_use]
    pub fn inspect(&self, container: &str) -> Value {
        self.look(&format!("containers/{container}/json"))
    }

    /// Takes an image with a name of its own from an archive, as `docker load` does.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn load(&self, archive: &Path) {
        let archive = archive.to_str().expect("UTF-8");
        let tar = ["-X", "POST", "-H", "Content-Type: application/x-tar", "-T", archive];
        let answer = self.ask("images/load", &tar);
        assert!(answer.contains("Loaded image"), "{answer}");
    }

    /// Halts a container, as `docker pause` does, or lets it go on.
    pub fn pause(&self, container: &str, halt: bool) {
        let verb = if halt { "pause" } else { "unpause" };
        self.ask(&format!("containers/{container}/{verb}"), &["-X", "POST"]);
    }

    /// Takes the rest of a small disk, or gives it back.
    ///
    /// # Panics
    /// When the engine was not started with one.
    pub fn fill_disk(&self, fill: bool) {
        let file = self.place.file("service/images/filler");
        let script = if fill { "cat /dev/zero > $0; true" } else { "rm $0" };
        let mut command = self.place.inside();
        command.args(["sh", "-c", script]).arg(file).stderr(Stdio::null());
        assert!(command.status().expect("nsenter").success());
    }

    /// Kills a container, as `docker kill` does.
    pub fn kill_container(&self, container: &str) {
        self.ask(&format!("containers/{container}/kill"), &["-X", "POST"]);
    }

    /// Kills the engine itself. Its containers are left.
    pub fn kill(&self) {
        self.place.end_all(match self.kind {
            Kind::Docker => &["/usr/sbin/dockerd"],
            Kind::Podman | Kind::Rootless => &["podman", "system", "service"],
        });
        let _ = self.service().wait();
    }

    /// Starts it again after that.
    pub fn start_again(&self) {
        let _ = fs::remove_file(self.place.file("service/engine.pid"));
        let _ = fs::remove_file(self.socket());
        *self.service() = service(self.kind, &self.place, self.network);
        self.wait();
    }

    fn service(&self) -> std::sync::MutexGuard<'_, Child> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.curl("_ping", &["--max-time", "5"]).is_ok_and(|answer| answer.starts_with("OK")) {
            let ended = self.service().try_wait().expect("its state");
            assert!(ended.is_none() && Instant::now() < deadline, "no engine: {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
        if self.kind == Kind::Docker {
            // The tests' ordinary user is as if it were in the group of those who may ask it.
            fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o666)).expect("mode");
        }
    }

    /// Its own command line, where it runs: `podman` works there without its service, `docker` asks the socket.
    #[must_use]
    pub fn command_line(&self) -> Command {
        let mut command = self.place.inside();
        command.arg(self.driver());
        if self.kind == Kind::Docker {
            command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        }
        know_its_files(&mut command, &self.place.folder("service", None));
        command
    }

    /// What it wrote about itself.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.place.file("service/engine.log")).unwrap_or_default()
    }

    /// What it has. Podman fails where a process of any container ends while it looks (`read /proc/509/cgroup: no such
    /// process`): it is asked again.
    fn look<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            match self.curl(path, &[]) {
                Err(answer) if answer.contains("no such process") && Instant::now() < deadline => {}
                Err(answer) => panic!("{path}: {answer}: {}", self.said()),
                Ok(answer) => break answer,
            }
        };
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn ask(&self, path: &str, options: &[&str]) -> String {
        self.curl(path, options).unwrap_or_else(|answer| panic!("{path}: {answer}: {}", self.said()))
    }

    fn curl(&self, path: &str, options: &[&str]) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--unix-socket"]).arg(self.socket());
        let output = curl.args(options).arg(format!("http://engine/{path}")).output().expect("curl");
        let text =
            String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
        if output.status.success() { Ok(text.into_owned()) } else { Err(text.into_owned()) }
    }
}

/// Podman's own files: another limit than it would take, since root itself may not raise one on every machine.
///
/// What a user may have set for every container is set here: an init of its own, a proxy with a password.
fn configure(place: &Place, kind: Kind, settings: &Settings) {
    let owner = (kind == Kind::Rootless).then_some(TEST_USER);
    let folder = place.folder("service", owner);
    place.folder("service/runtime", owner);
    place.folder("service/home", owner);
    let containers = format!(
        "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\ninit = true\nvolumes = {:?}\n\
         [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        settings.volume.as_slice()
    );
    place.write("service/containers.conf", &containers);
    let registries = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry::ADDRESS);
    place.write("service/registries.conf", &registries);
    let folder = folder.display();
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{folder}/images\"\n\
         rootless_storage_path = \"{folder}/images\"\nrunroot = \"{folder}/run\"\n"
    );
    place.write("service/storage.conf", &storage);
}

fn service(kind: Kind, place: &Place, network: bool) -> Child {
    let folder = place.folder("service", None);
    let path = |name: &str| folder.join(name).display().to_string();
    let listen = format!("unix://{}", path("engine.sock"));
    let mut command = place.inside();
    match kind {
        Kind::Docker => {
            command.args(["/usr/sbin/dockerd", "--iptables=false", "--init"]);
            command.args(if network { network::OWN } else { &["--bridge=none"] });
            command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "-H", &listen]);
            command.args(["--data-root", &path("images"), "--exec-root", &path("run")]);
            command.args(["-p", &path("engine.pid")]);
        }
        Kind::Podman | Kind::Rootless => {
            if kind == Kind::Rootless {
                let id = TEST_USER.to_string();
                command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
            }
            command.args(["podman", "system", "service", "-t", "0", &listen]);
        }
    }
    let log = fs::File::options().create(true).append(true).open(path("engine.log")).expect("its log");
    know_its_files(&mut command, &folder)
        .env("http_proxy", PROXY)
        .env("HTTPS_PROXY", PROXY)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("nsenter")
}

fn know_its_files<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder.join("home"))
        .env("XDG_RUNTIME_DIR", folder.join("runtime"))
        .env("CONTAINERS_CONF", folder.join("containers.conf"))
        .env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"))
        .env("CONTAINERS_REGISTRIES_CONF", folder.join("registries.conf"))
}

/// What a query may hold.
fn encode(text: &str) -> String {
    let mut encoded = Vec::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte);
        } else {
            write!(encoded, "%{byte:02X}").expect("memory");
        }
    }
    String::from_utf8(encoded).expect("ASCII")
}
