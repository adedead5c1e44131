//! `static.gpu` by the Container Device Interface: files of this machine's root say which devices there are and what
//! each brings (<https://github.com/cncf-tags/container-device-interface>, SPEC.md). The engine does what they say;
//! they are read here to know the names, and what of it the sandbox inside the container has to show.

mod choose;
mod spec;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use chiton_api::control::Devices;
use chiton_driver::{DriverError, Gpu, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use self::spec::{Device, Edits, Known};

/// What of it a view does not take from the image's root by itself (`confine/src/plan/system.rs`).
const BESIDE: &[&str] = &["run", "var", "mnt", "srv", "media"];
/// Links in a sandbox, to folders that are told by their own names.
const LINKS: &[&str] = &["/var/run", "/var/tmp"];
/// Where a sandbox has only its own.
const ITS_OWN: &[&str] = &["proc", "sys", "dev", "tmp", "home", "workspace", "boot", "lost+found"];
/// What every sandbox has in `/dev`.
const USUAL: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd",
    "stdin", "stdout", "stderr", "core",
];

/// What a sandbox is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The devices' full names: what the engine is asked for.
    pub(crate) names: Vec<String>,
    nodes: Vec<Node>,
    /// What a view shows beside the image's own folders.
    files: Vec<PathBuf>,
    /// Where the engine mounts something for them.
    #[serde(default)]
    mounts: Vec<PathBuf>,
    /// Variables.
    pub(crate) env: BTreeMap<String, String>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    path: PathBuf,
    /// Its number on this machine.
    number: u64,
}

impl Given {
    /// Looks up what is asked for in these folders, the last of which counts most.
    ///
    /// # Errors
    /// What is not there, by name, or is nothing that a sandbox can be given.
    pub(crate) fn find(asked: &Gpu, folders: &[PathBuf]) -> Result<Self> {
        if asked.is_none() {
            return Ok(Self::default());
        }
        let known = Known::read(folders);
        let mut given = Self::default();
        for device in choose::devices(asked, &known)? {
            given.add(device)?;
        }
        Ok(given)
    }

    fn add(&mut self, device: &Device) -> Result<()> {
        let name = device.full_name();
        let refused =
            |why: String| DriverError::Unsupported(format!("`static.gpu`: the device `{name}` {why}"));
        for Edits { env, device_nodes, mounts } in [&device.common, &device.edits] {
            for node in device_nodes {
                let node = node.on_this_machine().map_err(refused)?;
                if !self.nodes.contains(&node) {
                    self.nodes.push(node);
                }
            }
            for mount in mounts {
                self.files.extend(shown(&mount.container_path).map_err(refused)?);
                self.mounts.push(mount.container_path.clone());
            }
            let pairs = env.iter().filter_map(|variable| variable.split_once('='));
            self.env.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        self.files.sort();
        self.files.dedup();
        self.names.push(name);
        Ok(())
    }

    /// For the supervisor.
    pub(crate) fn for_view(&self) -> Devices {
        Devices {
            nodes: self.nodes.iter().map(|node| node.path.clone()).collect(),
            files: self.files.clone(),
        }
    }

    /// Where a container has them. A rootless engine mounts nodes too.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Path> {
        self.nodes.iter().map(|node| &node.path).chain(&self.mounts).map(PathBuf::as_path)
    }

    /// Refuses a container whose engine did not give what it was asked for, or gave something else.
    pub(crate) fn verify(&self, process: i32) -> Result<()> {
        let failed = |path: &Path, why: String| {
            DriverError::Unsupported(format!(
                "`static.gpu`: the engine did not give `{}`: {why}",
                path.display()
            ))
        };
        for Node { path, number } in &self.nodes {
            let found = seen_by(process, path).map_err(|e| failed(path, e.to_string()))?;
            if found != Some(*number) {
                return Err(failed(path, "another file is there".to_owned()));
            }
        }
        for path in &self.files {
            seen_by(process, path).map_err(|e| failed(path, e.to_string()))?;
        }
        Ok(())
    }
}

impl spec::DeviceNode {
    fn on_this_machine(&self) -> std::result::Result<Node, String> {
        let host = self.host_path.as_ref().unwrap_or(&self.path);
        let found = fs::metadata(host).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("is `{}`, which is not on this machine", host.display()),
            _ => format!("is `{}`, which cannot be looked at: {e}", host.display()),
        })?;
        if !found.file_type().is_char_device() {
            return Err(format!("is `{}`, which is no character device", host.display()));
        }
        let inside = self.path.strip_prefix("/dev").ok().filter(|_| is_plain(&self.path));
        match inside.and_then(first) {
            Some(first) if !USUAL.contains(&first) => {
                Ok(Node { path: self.path.clone(), number: found.rdev() })
            }
            _ => Err(format!("would be at `{}`, where no sandbox has a device", self.path.display())),
        }
    }
}

/// The path, where it is to be shown besides the image's own; none where it is in one of those folders.
fn shown(path: &Path) -> std::result::Result<Option<PathBuf>, String> {
    let name = path.strip_prefix("/").ok().filter(|_| is_plain(path)).and_then(first);
    match name {
        Some(name) if BESIDE.contains(&name) && !LINKS.iter().any(|link| path.starts_with(link)) => {
            Ok(Some(path.to_owned()))
        }
        Some(name) if ![BESIDE, ITS_OWN].concat().contains(&name) && !name.starts_with('.') => Ok(None),
        _ => Err(format!("brings `{}`, which is not shown in a sandbox", path.display())),
    }
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}

fn first(path: &Path) -> Option<&str> {
    path.components().next()?.as_os_str().to_str()
}

/// The number of the device at a path as a process sees it, none where it is something else. An image may have put a
/// link there, which is an error.
fn seen_by(process: i32, path: &Path) -> io::Result<Option<u64>> {
    let (flags, mode) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = rustix::fs::open(format!("/proc/{process}/root"), flags, mode)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let below = path.strip_prefix("/").unwrap_or(path);
    let found = rustix::fs::fstat(rustix::fs::openat2(root, below, flags, mode, resolve)?)?;
    let device = rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice;
    Ok(device.then_some(found.st_rdev))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_a_device_is_where_a_sandbox_can_show_it() {
        for (path, beside) in [
            ("/usr/lib/libcuda.so.1", false),
            ("/opt/vendor", false),
            ("/etc/vulkan/icd.d/x.json", false),
            ("/run/vendor/socket", true),
            ("/var/lib/vendor", true),
        ] {
            assert_eq!(shown(Path::new(path)).unwrap().is_some(), beside, "{path}");
        }
        for path in [
            "/proc/x",
            "/dev/x",
            "/home/agent/x",
            "/workspace",
            "/tmp/x",
            "/var/run/docker.sock",
            "/var/tmp",
            "/.chiton-1/x",
            "/",
            "x",
            "/usr/../proc",
        ] {
            assert!(shown(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_node_is_a_character_device_that_stands_in_nobodys_place() {
        let node = |path: &str, host: &str| {
            spec::DeviceNode { path: path.into(), host_path: Some(host.into()) }.on_this_machine()
        };
        assert_eq!(node("/dev/dri/card7", "/dev/null").unwrap().path, Path::new("/dev/dri/card7"));
        for (path, host) in [
            ("/dev/x", "/dev/no-such-device"),
            ("/dev/x", "/etc/passwd"),
            ("/dev/x", "/dev"),
            ("/dev/null", "/dev/zero"),
            ("/dev/pts/7", "/dev/null"),
            ("/dev", "/dev/null"),
            ("/dev/../etc/x", "/dev/null"),
            ("/usr/x", "/dev/null"),
            ("dev/x", "/dev/null"),
        ] {
            assert!(node(path, host).is_err(), "{path} {host}");
        }
    }

    #[test]
    fn a_link_or_another_device_is_not_what_was_asked_for() {
        let own = i32::try_from(std::process::id()).unwrap();
        let given = |path: &str, of: &str| Given {
            nodes: vec![Node { path: path.into(), number: fs::metadata(of).unwrap().rdev() }],
            ..Given::default()
        };
        given("/dev/null", "/dev/null").verify(own).unwrap();
        for (path, of) in
            [("/dev/zero", "/dev/null"), ("/etc/passwd", "/dev/null"), ("/dev/gone", "/dev/null")]
        {
            assert!(given(path, of).verify(own).unwrap_err().to_string().contains(path));
        }
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        given(link.to_str().unwrap(), "/dev/null").verify(own).unwrap_err();
        let files = Given { files: vec![link.join("x")], ..Given::default() };
        files.verify(own).unwrap_err();
    }
}
