//! The folders of one installation, and whose they are.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use super::{As, TEST_USER};

/// Not `/tmp`: inside a sandbox that is the sandbox's own, and the user's home must be visible there.
const PLACE: &str = "/var/tmp";
/// Memory, as the runtime folder is on every machine, `/run` or below it.
const MEMORY: &str = "/dev/shm";
const RUNTIME: &str = "run";
const FOLDERS: [&str; 5] = ["home", "state", RUNTIME, "workspace", "policies"];

#[derive(Debug)]
pub(super) struct Home {
    folder: TempDir,
    runtime: Option<TempDir>,
    /// The id to become, where the test itself is root and the user is not.
    become_user: Option<u32>,
    /// Whether the workspace is the ordinary user's, whoever this one is.
    workspace_is_users: bool,
}

impl Home {
    pub(super) fn new(user: As, workspace_is_users: bool) -> Self {
        let root = getuid().is_root();
        assert!(
            root || user == As::User,
            "component missing: this test needs root (run `sudo -E cargo xtask test`)"
        );
        let made = |place| tempfile::Builder::new().prefix("ct-").tempdir_in(place);
        let folder = made(PLACE).expect("a folder");
        let runtime = made(MEMORY).ok();
        let become_user = (root && user == As::User).then_some(TEST_USER);
        let home = Self { folder, runtime, become_user, workspace_is_users };
        fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        home.give(home.folder.path());
        for name in FOLDERS {
            let path = home.path(name);
            fs::create_dir_all(&path).expect("a folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("mode");
            home.give(&path);
        }
        home
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        match &self.runtime {
            Some(runtime) if name == RUNTIME => runtime.path().to_owned(),
            Some(_) | None => self.folder.path().join(name),
        }
    }

    /// What the processes and sockets of this installation are known by.
    fn folders(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.folder.path()).chain(self.runtime.as_ref().map(TempDir::path))
    }

    /// Makes a path the user's.
    pub(super) fn give(&self, path: &Path) {
        let is_users = self.workspace_is_users && path.starts_with(self.path("workspace"));
        if let Some(id) = if is_users { Some(TEST_USER) } else { self.become_user } {
            std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("chown");
        }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        let missing: Vec<_> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).expect("a folder");
            self.give(folder);
        }
        fs::write(&path, bytes).expect("a file");
        self.give(&path);
        path
    }

    pub(super) fn make_executable(&self, path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
    }

    /// A command as this user, with none of the test's own environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .env("HOME", self.path("home"))
            .env("CHITON_STATE_DIR", self.path("state"))
            .env("CHITON_RUNTIME_DIR", self.path("run"))
            .env("CHITON_CONFIG", self.path("config.toml"))
            .env("RUST_BACKTRACE", "1");
        if let Some(id) = self.become_user {
            command.uid(id).gid(id);
        }
        command
    }

    /// Processes whose environment or arguments name this installation.
    pub(super) fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        let entries = fs::read_dir("/proc").expect("/proc");
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |id| self.folders().any(|folder| belongs(id, folder.as_os_str().as_encoded_bytes()));
        ids.filter(|id| *id != own && ours(*id)).collect()
    }

    /// Unix sockets of this installation that some process still holds: supervisors and proxies have an
    /// environment of their own, and show only here.
    pub(super) fn sockets(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/net/unix").expect("/proc/net/unix");
        let folders: Vec<_> = self.folders().map(|folder| folder.to_str().expect("UTF-8")).collect();
        let paths = table.lines().filter_map(|line| line.split_whitespace().last());
        paths
            .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn kill_left(&self, processes: &[u32]) {
        processes
            .iter()
            .copied()
            .filter(|id| belongs(*id, self.folder.path().as_os_str().as_encoded_bytes()))
            .for_each(kill);
    }

    pub(super) fn files_holding(&self, needle: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() && holds(&path, needle) => found.push(path),
                    _ => {}
                }
            }
        }
        found
    }
}

fn belongs(id: u32, needle: &[u8]) -> bool {
    ["environ", "cmdline"].iter().any(|file| holds(Path::new(&format!("/proc/{id}/{file}")), needle))
}

fn holds(path: &Path, needle: &[u8]) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// Kills a process that a test started.
pub(super) fn kill(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
