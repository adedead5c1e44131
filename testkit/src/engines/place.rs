//! Where an engine runs: namespaces and a folder that end together.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, getuid, kill_process};

/// `$1` is the folder. Container engines leave their containers' control groups where they are killed: they are
/// removed by the containers' ids, which the folder knows.
const KEEPER: &str = r#"
unshare --mount --propagation slave --net --pid --fork --kill-child --mount-proc sh -c 'echo ready; cat >/dev/null'
for container in "$1"/service/images/containers/* "$1"/service/images/overlay-containers/*; do
    id=${container##*/}
    [ ${#id} = 64 ] && find /sys/fs/cgroup -depth -type d -path "*$id*" -exec rmdir {} + 2>/dev/null
done
rm -rf --one-file-system "$1"
"#;

#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    keeper: Child,
    /// The first process of the namespaces.
    first: i32,
}

impl Place {
    pub(super) fn new() -> Self {
        assert!(
            getuid().is_root(),
            "component missing: an engine of a test's own needs root (run `sudo -E cargo xtask test`)"
        );
        let folder =
            tempfile::Builder::new().prefix("ct-engine-").tempdir_in("/var/tmp").expect("a folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("mode");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).process_group(0);
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let mut line = String::new();
        let _ = BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line);
        assert_eq!(line, "ready\n", "component missing: namespaces; see `unshare`'s own error above");
        let first = child_of(child_of(i32::try_from(keeper.id()).expect("a process")));
        let place = Self { folder, keeper, first };
        place.folder("service", None);
        place
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder of this owner.
    pub(super) fn folder(&self, name: &str, owner: Option<u32>) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(&path).expect("a folder");
        if let Some(id) = owner {
            chown(&path, Some(id), Some(id)).expect("chown");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("mode");
        }
        path
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// A command that runs the rest of its arguments inside.
    pub(super) fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "-m", "-n", "-p"]);
        command
    }

    /// Mounts so many bytes at a folder, inside; its owner stays.
    pub(super) fn small_disk(&self, folder: &Path, bytes: u64) {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(folder).expect("a folder");
        let options = format!("size={bytes},mode=0711,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = self.inside();
        mount.args(["mount", "-t", "tmpfs", "-o", &options, "disk"]).arg(folder);
        assert!(mount.status().expect("nsenter").success(), "no small disk");
    }

    /// Where its network namespace is.
    pub(super) fn network(&self) -> PathBuf {
        Path::new("/proc").join(self.first.to_string()).join("ns/net")
    }

    /// Inside, a folder is empty but for what is below `shared`.
    pub(super) fn hide(&self, folder: &Path, shared: Option<&Path>) {
        let script = "set -e; kept=$(mktemp -d \"$0/XXXXXX\"); [ -z \"$2\" ] || mount --bind \"$2\" $kept; \
            mount -t tmpfs -o mode=755 none \"$1\"; \
            [ -z \"$2\" ] || { mkdir -p \"$2\"; mount --bind $kept \"$2\"; umount $kept; }";
        let mut command = self.inside();
        command.args(["sh", "-c", script]).arg(self.folder("kept", None)).arg(folder).args(shared);
        assert!(command.status().expect("nsenter").success(), "{} is not hidden", folder.display());
    }

    /// Inside, this user has a name and further ids, which a rootless engine asks for.
    pub(super) fn know_the_user(&self, id: u32) {
        let with = |path: &str, line: &str| {
            let known = fs::read_to_string(path).unwrap_or_default();
            let own = self.write(path.trim_start_matches("/etc/"), &format!("{line}\n{known}"));
            let mut mount = self.inside();
            let done = mount.arg("mount").arg("--bind").arg(own).arg(path).status().expect("nsenter");
            assert!(done.success(), "{path} cannot be replaced");
        };
        with("/etc/passwd", &format!("ct-user:x:{id}:{id}::/nonexistent:/bin/sh"));
        with("/etc/group", &format!("ct-user:x:{id}:"));
        with("/etc/subuid", "ct-user:1000000:65536");
        with("/etc/subgid", "ct-user:1000000:65536");
    }

    /// Kills the processes inside whose command line begins so.
    pub(super) fn end_all(&self, words: &[&str]) {
        let own = namespace(self.first);
        let wanted: String = words.iter().map(|word| format!("{word}\0")).collect();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else { continue };
            let begins =
                fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(wanted.as_bytes()));
            if begins && namespace(id) == own {
                let _ = kill_process(Pid::from_raw(id).expect("a process"), Signal::KILL);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn namespace(id: i32) -> Option<PathBuf> {
    fs::read_link(Path::new("/proc").join(id.to_string()).join("ns/pid")).ok()
}

fn child_of(id: i32) -> i32 {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().next().and_then(|child| child.parse().ok()).expect("a child")
}
