//! What judging lookups costs: `git status` in a tree of 10,000 files, a tree walk, and `npm install`, beside bwrap and
//! the bare host.

use std::{fs, process::Command};

use chiton_testkit::{Chiton, Router, TestCa, Upstream, routes::npm};

use crate::{
    figures::{bwrap, show, time},
    sandbox::{POLICY, user},
};

const FILES: usize = 10_000;

pub fn lookup() {
    let chiton = Chiton::new(user());
    let folder = chiton.workspace();
    for n in 0..FILES {
        let dir = folder.join(format!("d{}/e{}", n / 1000, n / 100 % 10));
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join(format!("f{n}.txt")), format!("{n}\n")).expect("a file");
    }
    let make = "git init -q && git add . && git -c user.name=b -c user.email=b@example.com commit -qm all";
    assert!(Command::new("sh").args(["-c", make]).current_dir(&folder).status().expect("git").success());
    let with = chiton.policy(POLICY);
    let without = chiton.policy(&POLICY.replace("    denied_paths: [/workspace/.env]\n", ""));
    for (what, script) in [
        ("git status, 10,000 files", "git --no-optional-locks -c safe.directory='*' status -s >/dev/null"),
        ("find and stat of 10,000 files", "find . -type f -newermt 2000-01-01 | wc -l"),
        ("5,000 files made and removed", "mkdir t; cd t; seq 5000 | xargs touch; cd ..; rm -r t"),
        ("shell alone", "true"),
    ] {
        let in_sandbox = |policy: &std::path::Path| {
            let policy = policy.to_str().expect("a path").to_owned();
            time(7, || chiton.command(&["run", "--rm", "-p", &policy, "--", "sh", "-c", script]))
        };
        show(&format!("{what}: chiton"), in_sandbox(&with));
        show(&format!("{what}: chiton, no denied paths"), in_sandbox(&without));
        show(&format!("{what}: bwrap"), time(7, || bwrap(&folder, &["sh", "-c", script])));
        show(&format!("{what}: bare"), time(7, || bare(&folder, script)));
    }
}

/// Twelve packages from a registry on loopback, into an empty folder each time.
pub fn npm_install() {
    const HOST: &str = "bench.example";
    let ca = TestCa::new();
    let registry =
        Upstream::tls_http1(&ca, &[HOST, "127.0.0.1"], Router::new().any("/", npm::answer_request));
    let mut chiton = Chiton::new(user());
    chiton.trust(&ca).resolve(&format!("{HOST}:443"), registry.address());
    let folder = chiton.workspace();
    let pem = folder.join("ca.pem");
    ca.write(&pem);
    let script = |registry: &str, cafile: &str| {
        let names: Vec<String> = (0..12).map(|n| format!("package-{n}")).collect();
        format!(
            "rm -rf n; mkdir n; cd n; HOME=/tmp npm_config_cache=$PWD/cache {cafile} \
             npm install --silent --no-fund --no-audit --registry {registry} {}",
            names.join(" ")
        )
    };
    let inside = script(&format!("https://{HOST}/"), "");
    let direct = format!("https://{}/", registry.address());
    let outside = script(&direct, &format!("npm_config_cafile={}", pem.display()));
    let in_bwrap = script(&direct, "npm_config_cafile=/workspace/ca.pem");
    let with = chiton.policy(POLICY);
    let without = chiton.policy(&POLICY.replace("    denied_paths: [/workspace/.env]\n", ""));
    for (what, policy) in
        [("npm install, 12 packages: chiton", &with), ("the same, no denied paths", &without)]
    {
        let policy = policy.to_str().expect("a path");
        show(what, time(5, || chiton.command(&["run", "--rm", "-p", policy, "--", "sh", "-c", &inside])));
    }
    show(
        "the same: bwrap, sharing the network",
        time(5, || bwrap(&folder, &["--share-net", "sh", "-c", &in_bwrap])),
    );
    show("the same: bare", time(5, || bare(&folder, &outside)));
}

fn bare(folder: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder);
    command
}
