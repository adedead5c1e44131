//! Archives that images are made of.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// An archive in a folder of its own.
#[derive(Debug)]
pub struct Archive {
    folder: TempDir,
}

impl Archive {
    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("files.tar")
    }
}

/// Busybox and its programs, and nothing else.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn busybox() -> Archive {
    archive(put_busybox)
}

/// The same, with a link at `path` to the folder `target`, both told from the image's root.
///
/// # Panics
/// When busybox is not installed.
#[must_use]
pub fn busybox_with_link(path: &str, target: &str) -> Archive {
    archive(|files| {
        put_busybox(files);
        let link = files.join(path);
        fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
        fs::create_dir_all(files.join(target)).expect("a folder");
        symlink(Path::new("/").join(target), link).expect("a link");
    })
}

/// The same, with a file at `path`, told from the image's root.
///
/// # Panics
/// When busybox is not installed.
#[must_use]
pub fn busybox_with(path: &str, text: &str) -> Archive {
    archive(|files| {
        put_busybox(files);
        let file = files.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    })
}

fn put_busybox(files: &Path) {
    let programs = Command::new("busybox").arg("--list").output().expect("component missing: busybox-static");
    let bin = files.join("bin");
    fs::create_dir(&bin).expect("a folder");
    fs::copy(on_path("busybox"), bin.join("busybox")).expect("a copy");
    let names = String::from_utf8(programs.stdout).expect("UTF-8");
    for name in names.lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(name)).expect("a link");
    }
}

/// One program, `/program`, and nothing else.
#[must_use]
pub fn scratch(program: &Path) -> Archive {
    archive(|files| {
        fs::copy(program, files.join("program")).expect("a copy");
    })
}

/// An image `foreign` for another processor, as `docker save` writes one.
///
/// # Panics
/// When there is no room for it.
#[must_use]
pub fn foreign() -> Archive {
    archive(|files| {
        let layer = busybox();
        fs::copy(layer.path(), files.join("layer.tar")).expect("a copy");
        let digest: String = Sha256::digest(fs::read(layer.path()).expect("the layer"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let config = json!({
            "architecture": "arm64", "os": "linux", "config": {}, "history": [{}],
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        let names = ["docker.io/library/foreign:latest"];
        let manifest = json!([{ "Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"] }]);
        fs::write(files.join("config.json"), config.to_string()).expect("a file");
        fs::write(files.join("manifest.json"), manifest.to_string()).expect("a file");
    })
}

/// Debian with curl, git, Python with pip, and Node, as `cargo xtask setup` made it.
///
/// # Panics
/// When it did not.
#[must_use]
pub fn debian() -> PathBuf {
    let root = std::env::var_os("CHITON_TEST_PACKAGES").unwrap_or_else(|| "/var/tmp/chiton-tests".into());
    let folder = PathBuf::from(root).join("image");
    assert!(
        folder.join(".installed").exists(),
        "component missing: the image of Debian; `cargo xtask setup`"
    );
    folder.join("debian.tar")
}

fn archive(fill: impl FnOnce(&Path)) -> Archive {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder");
    fill(&files);
    let archive = Archive { folder };
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&files).args(["--owner=0", "--group=0", "-cf"]).arg(archive.path()).arg(".");
    assert!(tar.status().expect("tar").success(), "tar");
    archive
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("PATH");
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("component missing: {program}"))
}
