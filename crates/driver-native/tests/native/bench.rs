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
}

/// A driver with its runtime directory in this folder.
pub(crate) fn driver(folder: &Path) -> NativeDriver {
    let (runtime, this) = (folder.join("run"), Path::new("/proc/self/exe"));
    chiton_driver_native::driver(&runtime, this, Proxies::ahead(this, &runtime))
}

/// The folder that holds a sandbox's files.
pub(crate) fn folder(sandbox: &Sandbox) -> &Path {
    sandbox.spec.log.parent().unwrap()
}

/// Where a sandbox's sockets are.
pub(crate) fn runtime_folder(sandbox: &Sandbox) -> PathBuf {
    folder(sandbox).join("run/sandboxes").join(sandbox.spec.id.as_str())
}

/// A test that failed leaves nothing behind either.
struct Leftovers(TempDir);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.0.path().join("run/sandboxes")).into_iter().flatten().flatten() {
            let Ok(text) = std::fs::read(entry.path().join("record.json")) else { continue };
            let record: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            let pids = ["supervisor", "proxy"].iter().filter_map(|role| record[role]["pid"].as_i64());
            for pid in pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}
