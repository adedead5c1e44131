//! What style.md and architecture.md ask of the tree itself: arrows point down, files stay short, unsafe has
//! one address, one TLS provider, known licences only.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A crate may use crates of a lower level; inside a level only where `SAME_LEVEL` says so.
const LEVELS: &[&[&str]] = &[
    &["chiton-secret", "chiton-policy", "chiton-audit"],
    &[
        "chiton-sys",
        "chiton-confine",
        "chiton-lookup",
        "chiton-tls",
        "chiton-aws",
        "chiton-credentials",
        "chiton-llm",
        "chiton-api",
        "chiton-driver",
        "chiton-store",
    ],
    &[
        "chiton-proxy",
        "chiton-supervisor",
        "chiton-driver-host",
        "chiton-driver-native",
        "chiton-driver-container",
    ],
    &["chiton-gateway", "chiton-cli", "chiton"],
];

/// Uses inside one level: `audit` speaks of policy, mechanisms that need a system call use `sys`, and so on.
const SAME_LEVEL: &[(&str, &str)] = &[
    ("chiton-policy", "chiton-secret"),
    ("chiton-audit", "chiton-policy"),
    ("chiton-confine", "chiton-sys"),
    ("chiton-lookup", "chiton-sys"),
    ("chiton-credentials", "chiton-sys"),
    ("chiton-credentials", "chiton-tls"),
    ("chiton-credentials", "chiton-aws"),
    ("chiton-tls", "chiton-sys"),
    ("chiton-driver", "chiton-api"),
    ("chiton-store", "chiton-api"),
    ("chiton-driver-native", "chiton-driver-host"),
    ("chiton-driver-container", "chiton-driver-host"),
    ("chiton-cli", "chiton-gateway"),
    ("chiton", "chiton-cli"),
    ("chiton", "chiton-gateway"),
];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "MPL-2.0",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "OpenSSL",
    "BSL-1.0",
    "MIT-0",
    "CDLA-Permissive-2.0",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo prints JSON")
}

fn level_of(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&name))
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let Some(level) = level_of(name) else { continue };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().expect("name");
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let Some(below) = level_of(used) else { continue };
            if below > level || (below == level && !SAME_LEVEL.contains(&(name, used))) {
                wrong.push(format!("{name} uses {used}"));
            }
            if name == "chiton-proxy" && used == "chiton-confine" {
                wrong.push("proxy and confine never meet".to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "upward edges: {wrong:?}");
}

#[test]
fn every_crate_has_a_level_and_the_lints() {
    for entry in fs::read_dir(root().join("crates")).expect("crates/") {
        let manifest =
            fs::read_to_string(entry.expect("entry").path().join("Cargo.toml")).expect("Cargo.toml");
        let name = manifest.lines().find_map(|l| l.strip_prefix("name = ")).expect("name").trim_matches('"');
        assert!(level_of(name).is_some(), "{name} has no level in architecture.md's table");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}

#[test]
fn one_tls_provider() {
    for banned in ["ring", "openssl", "openssl-sys", "native-tls", "serde_yaml"] {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--locked", "--workspace", "--edges", "normal,build", "--invert", banned]);
        let out = tree.current_dir(root()).output().expect("cargo runs");
        let users = String::from_utf8_lossy(&out.stdout);
        assert!(users.trim().is_empty(), "{banned} is used; aws-lc-rs is the provider:\n{users}");
    }
}

#[test]
fn known_licences() {
    let metadata = metadata();
    let resolved: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|n| n["id"].as_str())
        .collect();
    let mut unknown = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        if !resolved.contains(&package["id"].as_str().expect("id")) {
            continue;
        }
        let name = package["name"].as_str().expect("name");
        let licence = package["license"].as_str().unwrap_or("none");
        let known =
            licence.replace('/', " OR ").split(" OR ").all(|choice| {
                choice.split(" AND ").all(|l| LICENCES.contains(&l.trim_matches(['(', ')', ' '])))
            }) || licence
                .replace('/', " OR ")
                .split(" OR ")
                .any(|l| LICENCES.contains(&l.trim_matches(['(', ')', ' '])));
        if !known {
            unknown.insert(name.to_owned(), licence.to_owned());
        }
    }
    assert!(unknown.is_empty(), "licences to decide on: {unknown:?}");
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn files_stay_short_and_unsafe_has_one_address() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("source");
        let shown = file.strip_prefix(root()).expect("inside").display().to_string();
        let body = text.lines().take_while(|l| *l != "#[cfg(test)]").count();
        if body > 600 && !shown.contains("/tests/") {
            wrong.push(format!("{shown}: {body} lines before its tests"));
        }
        if !shown.starts_with("crates/sys/") && (text.contains("unsafe {") || text.contains("unsafe fn ")) {
            wrong.push(format!("{shown}: unsafe outside of crates/sys"));
        }
        if shown.contains("/src/") && !text.starts_with("//!") && !shown.ends_with("tests.rs") {
            wrong.push(format!("{shown}: does not begin with `//!`"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
