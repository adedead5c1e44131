//! The native driver as the suite's fixture, in a folder of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use chiton_driver::{
    ComputeDriver,
    conformance::{Fixture, Sandbox},
};
use chiton_driver_host::Proxies;
use chiton_driver_native::NativeDriver;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Makes sandboxes of a driver each.
pub(crate) struct Native;

impl Fixture for Native {
    fn sandbox(&self) -> Sandbox {
        let folder = tempfile::Builder::new().prefix("chiton-native-").tempdir_in("/tmp").unwrap();
        let path = folder.path().to_owned();
        Sandbox::new(Arc::new(driver(&path)), &path, Leftovers(folder))
    }

    fn again(&self, sandbox: &Sandbox) -> Arc<dyn ComputeDriver> {
        Arc::new(driver(folder(sandbox)))
    }

    fn runtime(&self, sandbox: &Sandbox) -> PathBuf {
        folder(sandbox).join("run")
    }
}

/// A driver with its runtime directory in this folder.
pub(crate) fn driver(folder: &Path) -> NativeDriver {
    let (runtime, this) = (folder.join("run"), Path::new("/proc/self/exe"));
    chiton_driver_native::driver(&runtime, &folder.join("records"), this, Proxies::ahead(this, &runtime))
}

/// The folder that holds a sandbox's files.
pub(crate) fn folder(sandbox: &Sandbox) -> &Path {
    sandbox.spec.log.parent().unwrap()
}

/// Where a sandbox's sockets are.
pub(crate) fn runtime_folder(sandbox: &Sandbox) -> PathBuf {
    folder(sandbox).join("run/sandboxes").join(sandbox.spec.id.as_str())
}

/// Where drivers in this folder write down what runs.
fn records(folder: &Path) -> PathBuf {
    folder.join("records/native")
}

/// Where a sandbox is written down.
pub(crate) fn record_file(sandbox: &Sandbox) -> PathBuf {
    records(folder(sandbox)).join(sandbox.spec.id.as_str())
}

/// What is written down about a sandbox: the last line of its file.
pub(crate) fn record(file: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(text.trim_end().lines().last().unwrap_or_default()).unwrap_or_default()
}

/// A test that failed leaves nothing behind either.
struct Leftovers(TempDir);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(records(self.0.path())).into_iter().flatten().flatten() {
            let record = record(&entry.path());
            let pids = ["supervisor", "proxy"].iter().filter_map(|role| record[role]["pid"].as_i64());
            for pid in pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}
