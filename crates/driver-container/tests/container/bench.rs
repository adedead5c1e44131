//! Containers as the suite's fixture: a driver each, in a folder of its own.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use chiton_driver::{
    ComputeDriver,
    conformance::{Fixture, Sandbox},
};
use chiton_driver_container::{ContainerDriver, Engine};
use chiton_driver_host::Proxies;
use chiton_testkit::harness::TEST_USER;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Has a shell and little else.
pub(crate) const IMAGE: &str = "busybox";

/// Docker, whose containers have a sidecar for the way out.
pub(crate) const SIDECAR: &str = "docker-sidecar";

/// Containers of an engine share its names: each sandbox has an id of its own.
static NEXT: AtomicU32 = AtomicU32::new(10);

/// Makes sandboxes of one engine.
pub(crate) struct Containers(Engine);

impl Containers {
    pub(crate) fn of(engine: &str, socket: &str) -> Self {
        let socket = Some(PathBuf::from(socket));
        Self(match engine {
            "docker" => Engine::docker(socket),
            SIDECAR => Engine::docker(socket).with_sidecar(true),
            _ => Engine::podman(socket),
        })
    }

    /// A driver with its runtime directory in this folder.
    fn driver(&self, folder: &Path) -> ContainerDriver {
        let (runtime, this) = (folder.join("run"), Path::new("/proc/self/exe"));
        chiton_driver_container::driver(
            self.0.clone(),
            &runtime,
            &folder.join("records"),
            Proxies::ahead(this, &runtime),
        )
    }
}

impl Fixture for Containers {
    fn sandbox(&self) -> Sandbox {
        let folder = tempfile::Builder::new().prefix("chiton-container-").tempdir_in("/tmp").unwrap();
        let path = folder.path().to_owned();
        let mut sandbox = Sandbox::new(Arc::new(self.driver(&path)), &path, Leftovers(folder));
        sandbox.spec.image = Some(IMAGE.to_owned());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        sandbox.spec.id = format!("01jdzzzzzzzzzzzzzzzzzzzz{number:02}").try_into().unwrap();
        sandbox.handle.id = sandbox.spec.id.clone();
        if rustix::process::geteuid().is_root() {
            chown(&sandbox.spec.workspace, Some(TEST_USER), Some(TEST_USER)).unwrap();
        }
        sandbox
    }

    fn again(&self, sandbox: &Sandbox) -> Arc<dyn ComputeDriver> {
        Arc::new(self.driver(folder(sandbox)))
    }

    fn runtime(&self, sandbox: &Sandbox) -> PathBuf {
        folder(sandbox).join("run")
    }
}

/// The folder that holds a sandbox's files.
fn folder(sandbox: &Sandbox) -> &Path {
    sandbox.spec.log.parent().unwrap()
}

/// Where a sandbox's sockets are.
pub(crate) fn runtime_folder(sandbox: &Sandbox) -> PathBuf {
    let driver = folder(sandbox).join("run").join(sandbox.handle.driver.as_str());
    driver.join("sandboxes").join(sandbox.spec.id.as_str())
}

/// Where a sandbox is written down.
pub(crate) fn record_file(sandbox: &Sandbox) -> PathBuf {
    folder(sandbox).join("records").join(sandbox.handle.driver.as_str()).join(sandbox.spec.id.as_str())
}

/// Its first process and its proxy, as they are written down: in the last line of its file.
pub(crate) fn recorded(file: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let last = text.trim_end().lines().last().unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(last).unwrap_or_default();
    let pids = ["process", "proxy"].iter().filter_map(|role| record.get(role)?.get("pid")?.as_i64());
    pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

/// A test that failed leaves nothing behind either.
struct Leftovers(TempDir);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for driver in ["docker", "podman"] {
            let records = std::fs::read_dir(self.0.path().join("records").join(driver));
            for entry in records.into_iter().flatten().flatten() {
                for pid in recorded(&entry.path()) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}
