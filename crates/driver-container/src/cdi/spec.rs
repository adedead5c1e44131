//! The files that say which devices there are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The one class that is given.
const CLASS: &str = "gpu";
/// Larger than what any of them says.
const MOST_BYTES: u64 = 4 << 20;

/// One file, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// `VENDOR/CLASS`.
    kind: String,
    devices: Vec<Named>,
    /// What each of them brings.
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is changed of a container. Hooks are the engine's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    /// `K=V`.
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<Mount>,
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceNode {
    /// In the container.
    pub(super) path: PathBuf,
    /// On this machine, where that is another.
    pub(super) host_path: Option<PathBuf>,
}

/// A file or folder of this machine's.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) container_path: PathBuf,
}

/// One device and what it brings.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// `VENDOR/gpu`.
    pub(super) kind: String,
    pub(super) name: String,
    /// What every device of its file brings.
    pub(super) common: Edits,
    pub(super) edits: Edits,
}

impl Device {
    /// As engines and policies name it.
    pub(super) fn full_name(&self) -> String {
        format!("{}={}", self.kind, self.name)
    }

    /// The nodes of its own.
    pub(super) fn own_nodes(&self) -> impl Iterator<Item = &Path> {
        self.edits.device_nodes.iter().map(|node| node.path.as_path())
    }
}

/// Every GPU that the files name.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// In no particular order, no name twice.
    pub(super) devices: Vec<Device>,
    /// The folders that were looked in.
    pub(super) folders: Vec<PathBuf>,
    /// Files that could not be read, and why: one line each.
    pub(super) unread: Vec<String>,
}

impl Known {
    /// Reads every file in these folders. As with the engines, a device of a later folder takes the place of one of the
    /// same name, and two files of one folder with the same device make neither count.
    pub(super) fn read(folders: &[PathBuf]) -> Self {
        let mut known = Self { folders: folders.to_vec(), ..Self::default() };
        for folder in folders {
            let mut here: Vec<Device> = Vec::new();
            for path in files(folder) {
                match read(&path) {
                    Ok(spec) => here.extend(devices(spec)),
                    Err(why) => known.unread.push(format!("{}: {why}", path.display())),
                }
            }
            let names: Vec<_> = here.iter().map(Device::full_name).collect();
            known.devices.retain(|device| !names.contains(&device.full_name()));
            let once = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
            known.devices.extend(
                here.into_iter().zip(&names).filter(|(_, name)| once(name)).map(|(device, _)| device),
            );
        }
        known
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let kind = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json" || ending == "yaml");
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(kind).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Result<Spec, String> {
    let failed = |e: &dyn std::fmt::Display| e.to_string().lines().next().unwrap_or_default().to_owned();
    let size = fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > MOST_BYTES {
        return Err("it is larger than 4 MiB".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|e| failed(&e))?;
    if path.extension().is_some_and(|ending| ending == "json") {
        return serde_json::from_str(&text).map_err(|e| failed(&e));
    }
    serde_saphyr::from_str(&text).map_err(|e| failed(&e))
}

fn devices(spec: Spec) -> Vec<Device> {
    let Spec { kind, devices, container_edits: common } = spec;
    if kind.split_once('/').is_none_or(|(_, class)| class != CLASS) {
        return Vec::new();
    }
    let device = |Named { name, container_edits: edits }| Device {
        kind: kind.clone(),
        name,
        common: common.clone(),
        edits,
    };
    devices.into_iter().map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `nvidia-ctk cdi generate` writes it, shortened.
    const NVIDIA: &str = "---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: \"0\"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
    hostPath: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache]
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.1
    hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.1
    options: [ro, nosuid, nodev, bind]
";

    fn named(known: &Known) -> Vec<String> {
        let mut names: Vec<_> = known.devices.iter().map(Device::full_name).collect();
        names.sort();
        names
    }

    #[test]
    fn yaml_and_json_say_the_same_and_only_gpus_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("nvidia.yaml", NVIDIA);
        write("other.json", r#"{"cdiVersion":"0.5.0","kind":"x.test/gpu","devices":[{"name":"7"}]}"#);
        write("net.json", r#"{"cdiVersion":"0.5.0","kind":"x.test/net","devices":[{"name":"7"}]}"#);
        write("broken.yaml", "kind: [");
        write("notes.txt", "no specification");
        let known = Known::read(&[folder.path().into(), "/nonexistent".into()]);
        assert_eq!(named(&known), ["nvidia.com/gpu=0", "nvidia.com/gpu=all", "x.test/gpu=7"]);
        assert!(known.unread.len() == 1 && known.unread[0].contains("broken.yaml"), "{:?}", known.unread);
        let first = known.devices.iter().find(|device| device.name == "0").unwrap();
        assert_eq!(first.own_nodes().collect::<Vec<_>>(), [Path::new("/dev/nvidia0")]);
        assert_eq!(first.common.env, ["NVIDIA_VISIBLE_DEVICES=void"]);
        assert_eq!(
            first.common.mounts[0].container_path,
            Path::new("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
        );
    }

    #[test]
    fn a_later_folder_wins_and_two_files_of_one_make_neither_count() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spec = |node: &str, names: &str| {
            let edits = format!(r#"{{"deviceNodes":[{{"path":"{node}"}}]}}"#);
            let devices = names.split(' ').map(|n| format!(r#"{{"name":"{n}","containerEdits":{edits}}}"#));
            format!(r#"{{"kind":"x.test/gpu","devices":[{}]}}"#, devices.collect::<Vec<_>>().join(","))
        };
        fs::write(one.path().join("a.json"), spec("/dev/a", "0 1 2")).unwrap();
        fs::write(one.path().join("b.json"), spec("/dev/b", "1")).unwrap();
        fs::write(other.path().join("c.json"), spec("/dev/c", "0")).unwrap();
        let known = Known::read(&[one.path().into(), other.path().into()]);
        assert_eq!(named(&known), ["x.test/gpu=0", "x.test/gpu=2"]);
        let first = known.devices.iter().find(|device| device.name == "0").unwrap();
        assert_eq!(first.own_nodes().collect::<Vec<_>>(), [Path::new("/dev/c")]);
    }
}
